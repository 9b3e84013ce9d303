-- Transfers that no batch works on: direct ones of their own, gifts, and failed ones that are retried alone.

ALTER TABLE ticket_transfers
  ADD COLUMN request_sha256 hash32,
  ADD COLUMN tries smallint NOT NULL DEFAULT 0 CHECK (tries >= 0),
  ADD COLUMN next_try_at timestamptz,
  ADD COLUMN accepted_at timestamptz,
  ADD COLUMN decision text,
  ADD CONSTRAINT gift_expires CHECK (kind = 'direct' OR status <> 'PENDING' OR (expires_at IS NOT NULL AND to_user_id IS NOT NULL));
COMMENT ON COLUMN ticket_transfers.request_sha256 IS 'of a transfer that no batch made: the same id with another request is refused';
COMMENT ON COLUMN ticket_transfers.tries IS 'of a transfer that no batch works on; a batch item counts its own';
COMMENT ON COLUMN ticket_transfers.accepted_at IS 'when the recipient accepted a gift';
COMMENT ON COLUMN ticket_transfers.decision IS 'the word that decided a gift: said again by a step whose answer was lost, it stands';

-- However many batches fill a lane: a sixteenth of its places stays for single transfers.
ALTER TABLE chain_lanes ADD COLUMN kept_for_singles int NOT NULL
  GENERATED ALWAYS AS (CASE WHEN max_in_flight > 1 THEN (max_in_flight + 15) / 16 ELSE 0 END) STORED;

-- Few at a time: those that must have a workflow of their own, for the job that looks for strays.
CREATE INDEX ticket_transfers_single_live ON ticket_transfers (transfer_id) WHERE live AND (batch_id IS NULL OR kind = 'gift');
