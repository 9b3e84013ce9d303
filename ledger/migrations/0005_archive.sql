-- What the scheduled jobs need: an index of what expires, one of the batches that are open, and the webhook archive.

-- Gifts by the time they expire. On `live`, not `status`, so that a change between live states stays a HOT update.
CREATE INDEX ticket_transfers_expiring ON ticket_transfers (expires_at, transfer_id) WHERE live AND expires_at IS NOT NULL;
CREATE INDEX failed_blockchain_transfers_oldest ON failed_blockchain_transfers (failed_at, transfer_id);
CREATE INDEX batch_transfers_open ON batch_transfers (batch_id) WHERE ended_at IS NULL;
CREATE INDEX batch_transfers_failed ON batch_transfers (batch_id) WHERE status = 'FAILED';

-- Finished deliveries past their retention, with their attempts, by the month (UTC) the delivery ended in: dropping the
-- two partitions of a month drops whole deliveries.
CREATE TABLE webhook_deliveries_archive (
  subscription_id uuid NOT NULL,
  event_id uuid NOT NULL,
  status delivery_status NOT NULL CHECK (status <> 'PENDING'),
  attempts int NOT NULL,
  last_error text,
  created_at timestamptz NOT NULL,
  ended_at timestamptz NOT NULL,
  archived_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (subscription_id, event_id, ended_at)
) PARTITION BY RANGE (ended_at);

CREATE TABLE webhook_attempts_archive (
  subscription_id uuid NOT NULL,
  event_id uuid NOT NULL,
  attempt_no int NOT NULL,
  started_at timestamptz NOT NULL,
  duration_ms int NOT NULL,
  http_status int,
  error_code text,
  response text,
  ended_at timestamptz NOT NULL,
  PRIMARY KEY (subscription_id, event_id, attempt_no, started_at, ended_at)
) PARTITION BY RANGE (ended_at);
COMMENT ON COLUMN webhook_attempts_archive.ended_at IS 'of the delivery, so that both lie in the same month';

-- The month's two partitions, made where they're missing. One maker at a time; attached afterwards, since that lets
-- readers of the archive go on. Returns whether it made them.
CREATE FUNCTION make_archive_month(month timestamp) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
  parent text;
  part text;
  made boolean := false;
BEGIN
  PERFORM pg_advisory_xact_lock(hashtext('make_archive_month'));
  FOREACH parent IN ARRAY ARRAY['webhook_deliveries_archive', 'webhook_attempts_archive'] LOOP
    part := parent || to_char(month, '_YYYY_MM');
    IF to_regclass(part) IS NULL THEN
      EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING ALL)', part, parent);
      EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', parent, part,
                     month AT TIME ZONE 'UTC', (month + interval '1 month') AT TIME ZONE 'UTC');
      made := true;
    END IF;
  END LOOP;
  RETURN made;
END $$;
