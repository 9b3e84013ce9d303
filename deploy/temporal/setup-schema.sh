#!/bin/sh
# Creates Temporal's two databases and brings their schemas up to the server's version. Safe to run again.
# Needs SQL_PLUGIN, SQL_HOST, SQL_PORT, SQL_USER and SQL_PASSWORD (temporal-sql-tool reads them).
set -eu

bring_up() {
  database=$1 folder=$2
  temporal-sql-tool --db "$database" create || echo "$database is there already"
  temporal-sql-tool --db "$database" setup-schema -v 0.0 || echo "$database has its version table already"
  temporal-sql-tool --db "$database" update-schema -d "/etc/temporal/schema/postgresql/v12/$folder/versioned"
}

bring_up temporal temporal
bring_up temporal_visibility visibility
