-- Batches of gifts, and batches whose items go one after the other.

CREATE TYPE item_order AS ENUM ('parallel', 'sequential');
ALTER TABLE batch_transfers
  ADD COLUMN item_order item_order NOT NULL DEFAULT 'parallel',
  ADD COLUMN expires_at timestamptz,
  ADD CONSTRAINT only_gifts_expire CHECK (kind = 'gift' OR expires_at IS NULL);
COMMENT ON COLUMN batch_transfers.expires_at IS 'of gifts: until when they can be accepted; NULL: a week from the creation of each';
