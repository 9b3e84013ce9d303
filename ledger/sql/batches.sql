-- name: has_wallet
-- Whether a user is known.
SELECT EXISTS (SELECT FROM wallets WHERE user_id = $1);

-- name: claim_batch_id
-- The row of a new batch, and whether its gifts could never be accepted; none comes back where the id is taken (waits
-- while another writes it).
INSERT INTO batch_transfers (batch_id, from_user_id, settlement, kind, expires_at, item_order)
VALUES ($1, $2, $3::text::settlement, $4::text::transfer_kind, $5, $6::text::item_order)
ON CONFLICT (batch_id) DO NOTHING RETURNING coalesce(expires_at <= now(), false) AS expired;

-- name: stored_batch
-- What is stored under a batch id.
SELECT batch_id, from_user_id, request_sha256, status, item_count FROM batch_transfers WHERE batch_id = $1;

-- name: duplicate_items
-- Items whose ticket an earlier item of the batch names, with the number of that item.
SELECT item_no, first_no FROM (
  SELECT item_no, min(item_no) OVER (PARTITION BY ticket_id) AS first_no FROM batch_transfer_items WHERE batch_id = $1
) numbered WHERE item_no > first_no;

-- name: fail_duplicates
-- Fails a page of items that name a ticket again, with their transfers.
-- (By number: the table has no statistics of the new rows yet, and a join of the whole batch would be planned quadratic.)
WITH failed AS (
  UPDATE batch_transfer_items i
  SET status = 'FAILED', failed_run = 1, ended_at = now(), failure_code = $4, failure_reason = $5 || ': item ' || r.first_no
  FROM unnest($2::int[], $3::int[]) AS r(item_no, first_no) WHERE i.batch_id = $1 AND i.item_no = r.item_no
  RETURNING i.transfer_id, i.batch_id, i.item_no, i.ticket_id, i.recipient, i.failure_code, i.failure_reason
)
INSERT INTO ticket_transfers (transfer_id, batch_id, item_no, kind, ticket_id, from_user_id, to_user_id, recipient,
  settlement, status, failure_code, failure_reason, ended_at)
SELECT f.transfer_id, f.batch_id, f.item_no, b.kind, f.ticket_id, b.from_user_id,
  CASE WHEN f.recipient !~* '^0x' THEN f.recipient END,
  CASE WHEN f.recipient ~ '^0x[0-9a-fA-F]{40}$' THEN decode(substr(f.recipient, 3), 'hex') END,
  b.settlement, 'FAILED', f.failure_code, f.failure_reason, now()
FROM failed f JOIN batch_transfers b USING (batch_id)
RETURNING transfer_id;

-- name: emit_failed_events
-- The events of transfers that have just failed; answers whom to wake.
SELECT * FROM emit_transfer_events($1, 'transfer.failed');

-- name: seal_batch
-- All items are in: their number and the fingerprint of the request.
UPDATE batch_transfers SET item_count = $2, request_sha256 = $3 WHERE batch_id = $1;

-- name: insert_controls
-- The row that pause and cancel commit.
INSERT INTO batch_controls (batch_id) VALUES ($1);

-- name: insert_counters
-- The batch's counters as of its writing.
INSERT INTO batch_counters (batch_id, item_count, queued, failed) VALUES ($1, $2::int, $2::int - $3::int, $3::int);

-- name: batch_report
-- One batch with its counters, for people.
SELECT b.batch_id, b.from_user_id, b.settlement, b.kind, b.expires_at, b.item_order AS "order", b.status, b.run_no, b.reason, b.created_at,
  b.started_at, b.ended_at, now() AS seen_at,
  c.item_count, c.queued, c.processing, c.completed, c.failed, c.cancelled, k.paused, k.cancelled AS cancel_requested
FROM batch_transfers b JOIN batch_counters c USING (batch_id) JOIN batch_controls k USING (batch_id) WHERE b.batch_id = $1;

-- name: batch_reports
-- The newest batches with their counters, of one status if given, of one sender if given.
SELECT b.batch_id, b.from_user_id, b.settlement, b.kind, b.expires_at, b.item_order AS "order", b.status, b.run_no, b.reason, b.created_at,
  b.started_at, b.ended_at, now() AS seen_at,
  c.item_count, c.queued, c.processing, c.completed, c.failed, c.cancelled, k.paused, k.cancelled AS cancel_requested
FROM batch_transfers b JOIN batch_counters c USING (batch_id) JOIN batch_controls k USING (batch_id)
WHERE ($1::text IS NULL OR b.status = $1::text::batch_status) AND ($2::text IS NULL OR b.from_user_id = $2)
ORDER BY b.created_at DESC, b.batch_id LIMIT $3;

-- name: failures_by_code
-- How many items of a batch failed, by code.
SELECT failure_code, count(*)::int AS items FROM batch_transfer_items
WHERE batch_id = $1 AND status = 'FAILED' GROUP BY failure_code ORDER BY items DESC, failure_code;

-- name: items_page
-- The next items of a batch after an item number, of one status if given, with the chain transaction that decided.
SELECT i.item_no, i.ticket_id, i.recipient, i.transfer_id, i.status, i.tries, i.next_try_at, i.failure_code, i.failure_reason,
  i.ended_at, x.final_tx_hash
FROM batch_transfer_items i
LEFT JOIN ticket_transfers t USING (transfer_id)
LEFT JOIN chain_bindings b ON b.transfer_id = t.transfer_id AND b.binding_no = t.bindings
LEFT JOIN chain_transactions x ON x.transaction_id = b.transaction_id
WHERE i.batch_id = $1 AND i.item_no > $2 AND ($3::text IS NULL OR i.status = $3::text::item_status)
ORDER BY i.item_no LIMIT $4;
