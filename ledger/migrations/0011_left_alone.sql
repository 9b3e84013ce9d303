-- What a person stopped stays stopped, also once Temporal has forgotten the run that was ended: the clean-up notes it.

-- In no index: noting it on a live transfer stays a HOT update.
ALTER TABLE batch_transfers ADD COLUMN left_at timestamptz;
COMMENT ON COLUMN batch_transfers.left_at IS 'when the clean-up saw that a person had ended its workflow; NULL once somebody starts it again';
ALTER TABLE ticket_transfers ADD COLUMN left_at timestamptz;
COMMENT ON COLUMN ticket_transfers.left_at IS 'as in batch_transfers, of a transfer that has a workflow of its own';
