-- Lists of single transfers and gifts, newest first. The items of direct batches aren't in them: nothing to keep for those.
-- No status in keys or predicates, so that a change between live states stays a HOT update.

CREATE INDEX ticket_transfers_recent ON ticket_transfers (created_at, transfer_id) WHERE batch_id IS NULL OR kind = 'gift';
CREATE INDEX ticket_transfers_sent ON ticket_transfers (from_user_id, created_at, transfer_id)
  WHERE batch_id IS NULL OR kind = 'gift';
CREATE INDEX ticket_transfers_received ON ticket_transfers (to_user_id, created_at, transfer_id)
  WHERE batch_id IS NULL OR kind = 'gift';
