-- Alerts that are told to people: how grave, who has acknowledged them, and what is still to be sent to whom.

ALTER TABLE alerts
  ADD severity text NOT NULL DEFAULT 'critical' CHECK (severity IN ('warning', 'critical')),
  ADD value double precision,
  ADD threshold double precision,
  ADD acked_at timestamptz,
  ADD acked_by text,
  ADD last_told_at timestamptz,
  ADD close_message text,
  ADD close_told boolean NOT NULL DEFAULT false,
  ADD CONSTRAINT acked_by_somebody CHECK ((acked_at IS NULL) = (acked_by IS NULL)),
  ADD CONSTRAINT told_after_end CHECK (NOT close_told OR closed_at IS NOT NULL);
COMMENT ON COLUMN alerts.last_told_at IS 'when its latest notice was written; NULL: nobody was told yet';
COMMENT ON COLUMN alerts.close_told IS 'whether the notice of its end is written';
CREATE INDEX alerts_recent ON alerts (opened_at DESC);
CREATE INDEX alerts_to_tell ON alerts (alert_id) WHERE NOT close_told;

-- What was closed by hand before anybody was told is no news.
UPDATE alerts SET close_told = true WHERE closed_at IS NOT NULL;

-- One message to one channel, written in the transaction that opens, repeats or closes: a crash loses none.
CREATE TABLE alert_notices (
  notice_id uuid PRIMARY KEY DEFAULT uuidv7(),
  alert_id bigint NOT NULL REFERENCES alerts,
  kind text NOT NULL CHECK (kind IN ('opened', 'repeated', 'closed')),
  channel text NOT NULL CHECK (channel IN ('log', 'webhook', 'slack')),
  body text NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now(),
  attempts int NOT NULL DEFAULT 0 CHECK (attempts >= 0),
  next_attempt_at timestamptz DEFAULT now(),
  last_error text,
  sent_at timestamptz,
  CONSTRAINT sent_has_no_next CHECK ((sent_at IS NULL) = (next_attempt_at IS NOT NULL))
);
COMMENT ON COLUMN alert_notices.notice_id IS 'the webhook-id, the same over all attempts';
COMMENT ON COLUMN alert_notices.body IS 'the exact text that is sent';
CREATE INDEX alert_notices_open ON alert_notices (alert_id, channel, notice_id) WHERE sent_at IS NULL;

-- What ended within a window is read for failure rates and processing times. By block ranges: rows that end together stand
-- together, so a range is widened now and then, where a tree would take an entry for every item, transfer and delivery.
CREATE INDEX batch_transfer_items_ended ON batch_transfer_items USING brin (ended_at) WITH (pages_per_range = 32, autosummarize = on);
CREATE INDEX ticket_transfers_ended ON ticket_transfers USING brin (ended_at) WITH (pages_per_range = 32, autosummarize = on);
CREATE INDEX webhook_deliveries_ended ON webhook_deliveries USING brin (ended_at) WITH (pages_per_range = 32, autosummarize = on);
CREATE INDEX batch_transfers_ended ON batch_transfers (ended_at) WHERE ended_at IS NOT NULL;
-- Failed schedules are few among the dead letters, and failures are asked for by time.
CREATE INDEX dead_letters_of_jobs ON dead_letters (last_failed_at) WHERE kind = 'job';
