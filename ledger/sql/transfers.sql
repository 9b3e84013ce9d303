-- name: items_to_create
-- Items of a range that have no transfer yet.
SELECT i.item_no, i.transfer_id, i.ticket_id, i.recipient, i.tries
FROM batch_transfer_items i
WHERE i.batch_id = $1 AND i.item_no BETWEEN $2 AND $3
  AND (i.status = 'QUEUED' OR (i.status = 'PROCESSING' AND i.next_try_at <= now()
       AND NOT EXISTS (SELECT FROM ticket_transfers t WHERE t.transfer_id = i.transfer_id)))
ORDER BY i.item_no LIMIT 1000;

-- name: items_to_create_retried
-- Those of them that had a try before (why apart: ledger/ranges.py).
SELECT i.item_no, i.transfer_id, i.ticket_id, i.recipient, i.tries
FROM batch_transfer_items i
WHERE i.batch_id = $1 AND i.item_no BETWEEN $2 AND $3 AND i.next_try_at IS NOT NULL
  AND (i.status = 'QUEUED' OR (i.status = 'PROCESSING' AND i.next_try_at <= now()
       AND NOT EXISTS (SELECT FROM ticket_transfers t WHERE t.transfer_id = i.transfer_id)))
ORDER BY i.item_no LIMIT 1000;

-- name: batch_head
-- What creating needs to know of the batch.
SELECT from_user_id, settlement::text, kind::text, expires_at FROM batch_transfers WHERE batch_id = $1;

-- name: lock_tickets
-- Tickets named by a slice, held unchanged until commit.
SELECT ticket_id, token, holder, owner_user_id FROM tickets
WHERE ticket_id = ANY ($1::text[]) ORDER BY ticket_id FOR SHARE;

-- name: known_wallets
-- Wallets by user id or by address.
SELECT user_id, address FROM wallets WHERE user_id = ANY ($1::text[]) OR address = ANY ($2::bytea[]);

-- name: insert_accepted
-- New live transfers, in ticket order; a ticket that is locked, or a transfer that exists, is left out. A gift waits.
INSERT INTO ticket_transfers (transfer_id, batch_id, item_no, ticket_id, from_user_id, to_user_id, token, holder, recipient,
  settlement, kind, status, expires_at)
SELECT a.transfer_id, $1, a.item_no, a.ticket_id, $2::text, a.to_user_id, a.token, a.holder, a.recipient, $3::text::settlement,
  $11::text::transfer_kind,
  CASE WHEN $11::text = 'gift' THEN 'PENDING'::transfer_status ELSE 'ACCEPTED' END,
  CASE WHEN $11::text = 'gift' THEN coalesce($12::timestamptz, now() + $13::interval) END
FROM unnest($4::uuid[], $5::int[], $6::text[], $7::text[], $8::bytea[], $9::bytea[], $10::bytea[])
  AS a (transfer_id, item_no, ticket_id, to_user_id, token, holder, recipient)
ORDER BY a.ticket_id COLLATE "C"
ON CONFLICT DO NOTHING RETURNING transfer_id;

-- name: insert_failed
-- Transfers of items that failed before they were live, in ticket order as well.
INSERT INTO ticket_transfers (transfer_id, batch_id, item_no, ticket_id, from_user_id, settlement, kind, status,
  failure_code, failure_reason, ended_at)
SELECT a.transfer_id, $1, a.item_no, a.ticket_id, $2::text, $3::text::settlement, $9::text::transfer_kind, 'FAILED',
  a.code, a.reason, now()
FROM unnest($4::uuid[], $5::int[], $6::text[], $7::text[], $8::text[]) AS a (transfer_id, item_no, ticket_id, code, reason)
ORDER BY a.ticket_id COLLATE "C"
ON CONFLICT DO NOTHING RETURNING transfer_id;

-- name: existing_transfers
-- Which of these transfers exist.
SELECT transfer_id FROM ticket_transfers WHERE transfer_id = ANY ($1::uuid[]);

-- name: hold_items
-- Items held until commit, in order: a cancel that pages through the same ones would deadlock with any other order.
SELECT item_no FROM batch_transfer_items WHERE batch_id = $1 AND item_no = ANY ($2::int[]) ORDER BY item_no FOR NO KEY UPDATE;

-- name: take_up_items
-- Queued items become PROCESSING.
UPDATE batch_transfer_items SET status = 'PROCESSING'
WHERE batch_id = $1 AND item_no = ANY ($2::int[]) AND status = 'QUEUED' RETURNING item_no;

-- name: complete_gift_items
-- Items in work whose gifts were created: nothing is left to do for them, whatever becomes of the gifts.
UPDATE batch_transfer_items SET status = 'COMPLETED', next_try_at = NULL, ended_at = now()
WHERE batch_id = $1 AND item_no = ANY ($2::int[]) AND status = 'PROCESSING' RETURNING item_no;

-- name: fail_items
-- Items in work fail, in the batch's present run.
UPDATE batch_transfer_items i
SET status = 'FAILED', failure_code = f.code, failure_reason = f.reason, tries = f.tries, next_try_at = NULL, ended_at = now(),
    failed_run = (SELECT b.run_no FROM batch_transfers b WHERE b.batch_id = $1)
FROM unnest($2::int[], $3::text[], $4::text[], $5::int[]) AS f (item_no, code, reason, tries)
WHERE i.batch_id = $1 AND i.item_no = f.item_no AND i.status = 'PROCESSING' RETURNING i.item_no;

-- name: postpone_items
-- Items in work wait for another try.
UPDATE batch_transfer_items i SET tries = f.tries, next_try_at = now() + f.delay
FROM unnest($2::int[], $3::int[], $4::interval[]) AS f (item_no, tries, delay)
WHERE i.batch_id = $1 AND i.item_no = f.item_no AND i.status = 'PROCESSING' RETURNING i.item_no;

-- name: cancel_items
-- Items that shall not go on.
UPDATE batch_transfer_items SET status = 'CANCELLED', next_try_at = NULL, ended_at = now()
WHERE batch_id = $1 AND item_no = ANY ($2::int[]) AND status IN ('QUEUED', 'PROCESSING') RETURNING item_no;

-- name: count_items
-- Moves the batch's counters; the last lock of every transaction.
UPDATE batch_counters SET queued = queued + $2, processing = processing + $3, completed = completed + $4,
  failed = failed + $5, cancelled = cancelled + $6
WHERE batch_id = $1 RETURNING *;

-- name: read_counters
-- The batch's counters.
SELECT * FROM batch_counters WHERE batch_id = $1;

-- name: hold_control
-- The batch's control row, held unchanged until commit: the cut of pause and cancel.
SELECT paused, cancelled FROM batch_controls WHERE batch_id = $1 FOR SHARE;

-- name: read_control
-- The batch's control row, as it is now.
SELECT paused, cancelled FROM batch_controls WHERE batch_id = $1;

-- name: due_again
-- Items of a range that wait for another try, or had to be left unbound.
SELECT min(i.item_no) AS first, max(i.item_no) AS last, count(*)::int AS count, coalesce(max(i.next_try_at), now()) AS due_at
FROM batch_transfer_items i LEFT JOIN ticket_transfers t USING (transfer_id)
WHERE i.batch_id = $1 AND i.item_no BETWEEN $2 AND $3
  AND i.status = 'PROCESSING' AND (t.transfer_id IS NULL OR t.status = 'ACCEPTED');

-- name: due_again_retried
-- Those of them that had a try before (why apart: ledger/ranges.py).
SELECT min(i.item_no) AS first, max(i.item_no) AS last, count(*)::int AS count, coalesce(max(i.next_try_at), now()) AS due_at
FROM batch_transfer_items i LEFT JOIN ticket_transfers t USING (transfer_id)
WHERE i.batch_id = $1 AND i.item_no BETWEEN $2 AND $3 AND i.next_try_at IS NOT NULL
  AND i.status = 'PROCESSING' AND (t.transfer_id IS NULL OR t.status = 'ACCEPTED');

-- name: due_ranges
-- All items of a batch that wait for another try, in ranges of at most $2 of them.
SELECT min(item_no) AS first, max(item_no) AS last, count(*)::int AS count, max(next_try_at) AS due_at
FROM (SELECT item_no, next_try_at, (row_number() OVER (ORDER BY item_no) - 1) / $2 AS part FROM batch_transfer_items
      WHERE batch_id = $1 AND next_try_at IS NOT NULL AND status = 'PROCESSING') waiting
GROUP BY part ORDER BY part;

-- name: emit_transfer_events
-- One event of a type per transfer; answers whom to wake.
SELECT * FROM emit_transfer_events($1::uuid[], $2::text::event_type);

-- name: fail_unbound_transfer
-- A defect's item: its unbound transfer fails.
UPDATE ticket_transfers SET status = 'FAILED', failure_code = $2, failure_reason = $3, ended_at = now()
WHERE transfer_id = $1 AND status IN ('PENDING', 'ACCEPTED') RETURNING transfer_id;

-- name: insert_failed_transfer
-- A defect's item that has no transfer yet: it gets a failed one.
INSERT INTO ticket_transfers (transfer_id, batch_id, item_no, ticket_id, from_user_id, settlement, kind, status,
  failure_code, failure_reason, ended_at)
SELECT i.transfer_id, i.batch_id, i.item_no, i.ticket_id, b.from_user_id, b.settlement, b.kind, 'FAILED', $2, $3, now()
FROM batch_transfer_items i JOIN batch_transfers b USING (batch_id) WHERE i.transfer_id = $1 AND i.batch_id = $4
ON CONFLICT DO NOTHING RETURNING transfer_id;

-- name: items_of_transfers
-- The item numbers of transfers.
SELECT item_no FROM ticket_transfers WHERE transfer_id = ANY ($1::uuid[]) AND item_no IS NOT NULL ORDER BY item_no;

-- name: item_of_batch
-- One item, whatever its state, and its transfer's where there is one.
SELECT i.item_no, i.transfer_id, i.ticket_id, i.status, i.tries, t.status AS transfer_status
FROM batch_transfer_items i LEFT JOIN ticket_transfers t USING (transfer_id) WHERE i.batch_id = $1 AND i.item_no = $2;

-- name: page_to_cancel
-- The next items of a batch, from an item number on, that aren't bound, with their transfers where they have one.
SELECT i.item_no, i.status, t.transfer_id
FROM batch_transfer_items i LEFT JOIN ticket_transfers t ON t.transfer_id = i.transfer_id
WHERE i.batch_id = $1 AND i.item_no > $2 AND i.status IN ('QUEUED', 'PROCESSING')
  AND (t.transfer_id IS NULL OR t.status = 'ACCEPTED')
ORDER BY i.item_no LIMIT $3;

-- name: cancel_transfers
-- Unbound transfers end CANCELLED and free their tickets.
WITH held AS (
  SELECT transfer_id FROM ticket_transfers WHERE transfer_id = ANY ($1::uuid[]) AND status = 'ACCEPTED'
  ORDER BY transfer_id FOR UPDATE)
UPDATE ticket_transfers t SET status = 'CANCELLED', ended_at = now() FROM held
WHERE t.transfer_id = held.transfer_id AND t.status = 'ACCEPTED' RETURNING t.transfer_id, t.item_no;

-- name: page_to_reopen
-- The next failed items, from an item number on, of earlier runs of the batch. A duplicate can never be mended.
SELECT i.item_no, i.transfer_id, i.ticket_id, i.recipient, i.tries
FROM batch_transfer_items i
WHERE i.batch_id = $1 AND i.item_no > $2 AND i.status = 'FAILED' AND i.failed_run < $3 AND i.failure_code <> 'DUPLICATE_IN_BATCH'
ORDER BY i.item_no LIMIT $4;

-- name: lock_tickets_alone
-- Tickets held against every other transfer until commit (creating one holds them FOR SHARE).
SELECT ticket_id, token, holder, owner_user_id FROM tickets
WHERE ticket_id = ANY ($1::text[]) ORDER BY ticket_id FOR NO KEY UPDATE;

-- name: reopen_transfers
-- Failed transfers become live again, where they may: never bound or finally not moved, and the ticket is free. A gift
-- that was never accepted waits: until the batch's time, or for as long as any where that's over.
UPDATE ticket_transfers t SET failure_code = NULL, failure_reason = NULL, ended_at = NULL,
  status = CASE WHEN t.kind = 'gift' AND t.accepted_at IS NULL THEN 'PENDING'::transfer_status ELSE 'ACCEPTED' END,
  expires_at = CASE WHEN t.kind = 'gift' THEN
    CASE WHEN $6::timestamptz > now() THEN $6::timestamptz ELSE now() + $7::interval END END,
  to_user_id = r.to_user_id, token = r.token, holder = r.holder, recipient = r.recipient
FROM unnest($1::uuid[], $2::text[], $3::bytea[], $4::bytea[], $5::bytea[]) AS r (transfer_id, to_user_id, token, holder, recipient)
WHERE t.transfer_id = r.transfer_id AND t.status = 'FAILED'
  AND NOT EXISTS (SELECT FROM ticket_transfers o WHERE o.ticket_id = t.ticket_id AND o.live)
  AND (t.bindings = 0 OR EXISTS (SELECT FROM chain_bindings b JOIN chain_outcomes o USING (transaction_id, position)
                                 WHERE b.transfer_id = t.transfer_id AND b.binding_no = t.bindings AND o.outcome <> 'moved'))
RETURNING t.transfer_id, t.item_no;

-- name: reopen_items
-- Failed items become PROCESSING again, with all their tries.
UPDATE batch_transfer_items SET status = 'PROCESSING', tries = 0, next_try_at = now(), failed_run = NULL, failure_code = NULL,
  failure_reason = NULL, ended_at = NULL
WHERE batch_id = $1 AND item_no = ANY ($2::int[]) AND status = 'FAILED' RETURNING item_no;
