-- Dead letters: whatever used up its retries, in one place, and who did what about it.

CREATE TYPE dead_letter_kind AS ENUM ('item', 'transfer', 'delivery', 'job');
CREATE TYPE dead_letter_status AS ENUM ('OPEN', 'REPLAYED', 'RESOLVED', 'DISCARDED');

-- Without foreign keys: a letter outlives what it tells of, and a million of them may be written within seconds.
CREATE TABLE dead_letters (
  dead_letter_id uuid PRIMARY KEY DEFAULT uuidv7(),
  kind dead_letter_kind NOT NULL,
  status dead_letter_status NOT NULL DEFAULT 'OPEN',
  transfer_id uuid,
  batch_id uuid,
  item_no int,
  subscription_id uuid,
  event_id uuid,
  job text,
  code text NOT NULL,
  reason text NOT NULL,
  attempts int NOT NULL CHECK (attempts > 0),
  first_failed_at timestamptz NOT NULL,
  last_failed_at timestamptz NOT NULL DEFAULT now(),
  payload_ref text NOT NULL,
  closed_at timestamptz,
  closed_by text,
  CONSTRAINT item_has_batch CHECK (kind <> 'item' OR num_nulls(transfer_id, batch_id, item_no) = 0),
  CONSTRAINT transfer_has_id CHECK (
    kind <> 'transfer' OR (transfer_id IS NOT NULL AND (batch_id IS NULL) = (item_no IS NULL))),
  CONSTRAINT delivery_has_endpoint CHECK (
    (kind = 'delivery') = (subscription_id IS NOT NULL) AND (kind = 'delivery') = (event_id IS NOT NULL)),
  CONSTRAINT job_has_schedule CHECK ((kind = 'job') = (job IS NOT NULL)),
  CONSTRAINT only_transfers_have_ids CHECK (
    kind IN ('item', 'transfer') OR num_nonnulls(transfer_id, batch_id, item_no) = 0),
  CONSTRAINT first_comes_first CHECK (first_failed_at <= last_failed_at),
  CONSTRAINT closed_by_somebody CHECK (
    (status = 'OPEN') = (closed_at IS NULL) AND (status = 'OPEN') = (closed_by IS NULL))
) WITH (fillfactor = 90);
COMMENT ON COLUMN dead_letters.attempts IS 'goes at it so far; counts on while the letter is open and it fails again';
COMMENT ON COLUMN dead_letters.payload_ref IS 'where the payload stands: a row, or a workflow execution';
-- A transfer's letter is the same subject whether it failed before the chain (item) or on it (transfer).
CREATE UNIQUE INDEX one_open_dead_letter ON dead_letters (transfer_id, subscription_id, event_id, job) NULLS NOT DISTINCT
  WHERE status = 'OPEN';
CREATE INDEX dead_letters_open ON dead_letters (dead_letter_id) WHERE status = 'OPEN';
CREATE TRIGGER closed_for_ever BEFORE UPDATE ON dead_letters FOR EACH ROW
  WHEN (OLD.status <> 'OPEN') EXECUTE FUNCTION forbid_change();

CREATE TABLE dead_letter_actions (
  action_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  dead_letter_id uuid NOT NULL REFERENCES dead_letters,
  action text NOT NULL CHECK (action IN ('replay', 'discard')),
  by text NOT NULL CHECK (octet_length(by) BETWEEN 1 AND 200),
  at timestamptz NOT NULL DEFAULT now(),
  replay_id uuid,
  note text,
  CONSTRAINT replay_has_id CHECK ((action = 'replay') = (replay_id IS NOT NULL))
);
CREATE INDEX dead_letter_actions_of ON dead_letter_actions (dead_letter_id);
-- A replay does a letter once.
CREATE UNIQUE INDEX dead_letter_replayed_once ON dead_letter_actions (replay_id, dead_letter_id) WHERE replay_id IS NOT NULL;
CREATE TRIGGER insert_only BEFORE UPDATE OR DELETE ON dead_letter_actions FOR EACH ROW EXECUTE FUNCTION forbid_change();
