"""Postgres: the pool, the migrations, the named SQL, and one module per group of tables."""
