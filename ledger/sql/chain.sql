-- name: transfers_to_bind
-- Accepted transfers of a range that are due.
SELECT t.transfer_id, t.bindings + 1 AS binding_no, t.token, t.holder, t.recipient, t.ticket_id, t.pack_limit, t.settlement::text
FROM batch_transfer_items i JOIN ticket_transfers t ON t.transfer_id = i.transfer_id
WHERE i.batch_id = $1 AND i.item_no BETWEEN $2 AND $3
  AND i.status = 'PROCESSING' AND t.status = 'ACCEPTED' AND (i.next_try_at IS NULL OR i.next_try_at <= now())
ORDER BY i.item_no LIMIT 1000;

-- name: transfers_to_bind_retried
-- Those of them that had a try before (why apart: ledger/ranges.py).
SELECT t.transfer_id, t.bindings + 1 AS binding_no, t.token, t.holder, t.recipient, t.ticket_id, t.pack_limit, t.settlement::text
FROM batch_transfer_items i JOIN ticket_transfers t ON t.transfer_id = i.transfer_id
WHERE i.batch_id = $1 AND i.item_no BETWEEN $2 AND $3 AND i.next_try_at IS NOT NULL
  AND i.status = 'PROCESSING' AND t.status = 'ACCEPTED' AND (i.next_try_at IS NULL OR i.next_try_at <= now())
ORDER BY i.item_no LIMIT 1000;

-- name: transfers_to_bind_single
-- One accepted transfer that is due.
SELECT t.transfer_id, t.bindings + 1 AS binding_no, t.token, t.holder, t.recipient, t.ticket_id, t.pack_limit, t.settlement::text
FROM ticket_transfers t
LEFT JOIN batch_transfer_items i ON t.kind = 'direct' AND i.batch_id = t.batch_id AND i.item_no = t.item_no
WHERE t.transfer_id = $1 AND t.status = 'ACCEPTED' AND coalesce(i.next_try_at, t.next_try_at, '-infinity') <= now();

-- name: lane_rooms
-- Lanes that may take chain transactions, with room for $3 of them or for a quarter of their limit, the emptiest first.
-- (Places taken singly as they fall free would cost a step each.) A share of a lane is kept for single transfers ($4).
SELECT l.signer, l.places - open.count AS room
FROM (SELECT *, max_in_flight - CASE WHEN $4::boolean THEN 0 ELSE kept_for_singles END AS places FROM chain_lanes) l
CROSS JOIN LATERAL (SELECT count(*)::int AS count FROM chain_transactions x
  WHERE x.chain_id = l.chain_id AND x.signer = l.signer AND x.settled_at IS NULL) open
WHERE l.chain_id = $1 AND l.signer = ANY ($2::bytea[]) AND l.halted_reason IS NULL
  AND l.places - open.count >= least($3, greatest(l.places / 4, 1))
ORDER BY room DESC, l.signer;

-- name: usable_lanes
-- How many lanes are in use, with their keys at hand.
SELECT count(*)::int FROM chain_lanes WHERE chain_id = $1 AND signer = ANY ($2::bytea[]) AND halted_reason IS NULL;

-- name: submit_transfers
-- Accepted transfers become SUBMITTED, each with its next binding number.
WITH held AS (
  SELECT t.transfer_id FROM unnest($1::uuid[], $2::int[]) AS p (transfer_id, binding_no) JOIN ticket_transfers t
    ON t.transfer_id = p.transfer_id AND t.status = 'ACCEPTED' AND t.bindings = p.binding_no - 1
  ORDER BY t.transfer_id FOR UPDATE OF t)
UPDATE ticket_transfers t SET status = 'SUBMITTED', bindings = t.bindings + 1, submitted_at = now() FROM held
WHERE t.transfer_id = held.transfer_id AND t.status = 'ACCEPTED';

-- name: lock_lane
-- A lane, held against other allocations until commit (FOR UPDATE would deadlock with the foreign keys).
SELECT halted_reason, max_in_flight, kept_for_singles FROM chain_lanes WHERE chain_id = $1 AND signer = $2 FOR NO KEY UPDATE;

-- name: open_count
-- Open nonces of a lane.
SELECT count(*)::int FROM chain_transactions WHERE chain_id = $1 AND signer = $2 AND settled_at IS NULL;

-- name: take_nonces
-- The lane's next nonces; answers the first.
UPDATE chain_lanes SET next_nonce = next_nonce + $3 WHERE chain_id = $1 AND signer = $2 RETURNING next_nonce - $3 AS first;

-- name: insert_transactions
-- One row per nonce, for ever.
INSERT INTO chain_transactions (chain_id, signer, nonce, settlement, gas_limit, router_key)
SELECT $1, $2::bytea, $3 + p.place - 1, p.settlement::settlement, p.gas_limit, p.router_key
FROM unnest($4::text[], $5::bigint[], $6::bytea[]) WITH ORDINALITY AS p (settlement, gas_limit, router_key, place)
ORDER BY p.place RETURNING transaction_id, nonce;

-- name: insert_bindings
-- Transfers bound to their chain transactions, for ever.
INSERT INTO chain_bindings (transaction_id, position, transfer_id, binding_no)
SELECT * FROM unnest($1::bigint[], $2::smallint[], $3::uuid[], $4::int[]);

-- name: open_transactions_of_items
-- Open chain transactions that carry transfers of a range.
SELECT DISTINCT b.transaction_id
FROM batch_transfer_items i JOIN ticket_transfers t ON t.transfer_id = i.transfer_id
JOIN chain_bindings b ON b.transfer_id = t.transfer_id AND b.binding_no = t.bindings
WHERE i.batch_id = $1 AND i.item_no BETWEEN $2 AND $3
  AND i.status = 'PROCESSING' AND t.status = 'SUBMITTED';

-- name: open_transactions_of_items_retried
-- Those of them whose items had a try before (why apart: ledger/ranges.py).
SELECT DISTINCT b.transaction_id
FROM batch_transfer_items i JOIN ticket_transfers t ON t.transfer_id = i.transfer_id
JOIN chain_bindings b ON b.transfer_id = t.transfer_id AND b.binding_no = t.bindings
WHERE i.batch_id = $1 AND i.item_no BETWEEN $2 AND $3 AND i.next_try_at IS NOT NULL
  AND i.status = 'PROCESSING' AND t.status = 'SUBMITTED';

-- name: open_transactions_of_items_single
-- The open chain transaction that carries one transfer.
SELECT b.transaction_id FROM ticket_transfers t
JOIN chain_bindings b ON b.transfer_id = t.transfer_id AND b.binding_no = t.bindings
WHERE t.transfer_id = $1 AND t.status = 'SUBMITTED';

-- name: open_transactions_of_lane
-- Open chain transactions of a lane, lowest nonce first, with whether they are older than $3.
SELECT transaction_id, bound_at < now() - $3::interval AS stale FROM chain_transactions
WHERE chain_id = $1 AND signer = $2 AND settled_at IS NULL ORDER BY nonce LIMIT $4;

-- name: still_open
-- Those of the chain transactions that aren't settled.
SELECT transaction_id FROM chain_transactions WHERE transaction_id = ANY ($1::bigint[]) AND settled_at IS NULL;

-- name: describe_transactions
-- Chain transactions without their transfers, lowest nonce first.
SELECT transaction_id, chain_id, signer, nonce, settlement::text, gas_limit, router_key, now() - bound_at AS age
FROM chain_transactions WHERE transaction_id = ANY ($1::bigint[]) ORDER BY signer, nonce;

-- name: bound_transfers
-- The transfers of chain transactions, in order.
SELECT b.transaction_id, b.transfer_id, b.binding_no, t.token, t.holder, t.recipient, t.ticket_id
FROM chain_bindings b JOIN ticket_transfers t ON t.transfer_id = b.transfer_id
WHERE b.transaction_id = ANY ($1::bigint[]) ORDER BY b.transaction_id, b.position;

-- name: attempts
-- The attempts of chain transactions, in the order they were signed.
SELECT transaction_id, tx_hash, raw, kind::text, max_fee_wei, tip_wei, send_class FROM chain_attempts
WHERE transaction_id = ANY ($1::bigint[]) ORDER BY transaction_id, attempt_no;

-- name: attempts_without_raw
-- The attempts of chain transactions without their bytes, which confirming doesn't need.
SELECT transaction_id, tx_hash, ''::bytea AS raw, kind::text, max_fee_wei, tip_wei, send_class FROM chain_attempts
WHERE transaction_id = ANY ($1::bigint[]) ORDER BY transaction_id, attempt_no;

-- name: insert_first_attempts
-- First attempts; where another copy was quicker, its bytes stand. (Any conflict: equal bytes conflict by their hash too.)
INSERT INTO chain_attempts (tx_hash, transaction_id, attempt_no, kind, max_fee_wei, tip_wei, raw)
SELECT a.tx_hash, a.transaction_id, 1, a.kind::attempt_kind, a.max_fee_wei, a.tip_wei, a.raw
FROM unnest($1::bytea[], $2::bigint[], $3::text[], $4::bigint[], $5::bigint[], $6::bytea[])
  AS a (tx_hash, transaction_id, kind, max_fee_wei, tip_wei, raw)
ORDER BY a.transaction_id ON CONFLICT DO NOTHING RETURNING transaction_id;

-- name: insert_next_attempts
-- Corrected or cancel attempts, only after an attempt that was refused for good.
INSERT INTO chain_attempts (tx_hash, transaction_id, attempt_no, kind, max_fee_wei, tip_wei, raw)
SELECT a.tx_hash, a.transaction_id, last.attempt_no + 1, a.kind::attempt_kind, a.max_fee_wei, a.tip_wei, a.raw
FROM unnest($1::bytea[], $2::bigint[], $3::text[], $4::bigint[], $5::bigint[], $6::bytea[])
  AS a (tx_hash, transaction_id, kind, max_fee_wei, tip_wei, raw)
CROSS JOIN LATERAL (SELECT attempt_no, send_class FROM chain_attempts c WHERE c.transaction_id = a.transaction_id
                    ORDER BY attempt_no DESC LIMIT 1) last
WHERE last.send_class = 'FATAL' ORDER BY a.transaction_id
ON CONFLICT DO NOTHING;

-- name: record_sends
-- The replies to broadcasts. A delivered attempt stays delivered, whatever a later reply says.
UPDATE chain_attempts a SET first_sent_at = coalesce(a.first_sent_at, now()), last_sent_at = now(),
  send_class = CASE WHEN a.send_class IN ('ACCEPTED', 'KNOWN') AND s.send_class <> 'ACCEPTED' THEN a.send_class ELSE s.send_class END,
  send_message = nullif(s.message, '')
FROM unnest($1::bytea[], $2::text[], $3::text[]) AS s (tx_hash, send_class, message)
WHERE a.tx_hash = s.tx_hash;

-- name: lock_settled_tickets
-- The tickets of transfers that are to be settled: of two copies, the second waits here.
SELECT k.ticket_id FROM ticket_transfers t JOIN tickets k ON k.ticket_id = t.ticket_id
WHERE t.transfer_id = ANY ($1::uuid[]) ORDER BY k.ticket_id FOR NO KEY UPDATE OF k;

-- name: complete_transfers
-- Moved transfers complete; their tickets change hands, their items complete (a gift's has, when the gift was made).
WITH moved AS (
  UPDATE ticket_transfers t SET status = 'COMPLETED', ended_at = now()
  FROM unnest($1::uuid[], $2::int[]) AS m (transfer_id, binding_no)
  WHERE t.transfer_id = m.transfer_id AND t.status = 'SUBMITTED' AND t.bindings = m.binding_no
  RETURNING t.transfer_id, t.kind, t.ticket_id, t.recipient, t.to_user_id, t.batch_id, t.item_no
), handed_over AS (
  UPDATE tickets k SET holder = m.recipient, owner_user_id = m.to_user_id FROM moved m WHERE k.ticket_id = m.ticket_id
), completed AS (
  UPDATE batch_transfer_items i SET status = 'COMPLETED', ended_at = now(), next_try_at = NULL FROM moved m
  WHERE i.batch_id = m.batch_id AND i.item_no = m.item_no AND i.status = 'PROCESSING' RETURNING i.batch_id
)
SELECT transfer_id, CASE WHEN kind = 'direct' THEN batch_id END AS batch_id FROM moved;

-- name: unmoved_transfers
-- What the verdict over unmoved transfers depends on. A gift is no batch's any more, whoever made it.
SELECT t.transfer_id, t.bindings AS binding_no, i.batch_id, i.item_no, coalesce(i.tries, t.tries)::int AS tries, t.pack_limit,
       coalesce(c.cancelled, false) AS cancelled
FROM ticket_transfers t
LEFT JOIN batch_transfer_items i ON t.kind = 'direct' AND i.batch_id = t.batch_id AND i.item_no = t.item_no
LEFT JOIN batch_controls c ON c.batch_id = i.batch_id
WHERE t.transfer_id = ANY ($1::uuid[]) AND t.status = 'SUBMITTED';

-- name: end_unmoved_transfers
-- Unmoved transfers go back to ACCEPTED, or end FAILED or CANCELLED. One that no batch works on counts its own tries.
UPDATE ticket_transfers t SET status = u.status::transfer_status, pack_limit = u.pack_limit,
  failure_code = u.code, failure_reason = u.reason, ended_at = CASE WHEN u.status = 'ACCEPTED' THEN NULL ELSE now() END,
  tries = coalesce(u.tries, t.tries), next_try_at = now() + u.delay
FROM unnest($1::uuid[], $2::int[], $3::text[], $4::int[], $5::text[], $6::text[], $7::int[], $8::interval[])
  AS u (transfer_id, binding_no, status, pack_limit, code, reason, tries, delay)
WHERE t.transfer_id = u.transfer_id AND t.status = 'SUBMITTED' AND t.bindings = u.binding_no RETURNING t.transfer_id;

-- name: record_failed_transfers
-- Transfers that the chain refused, for the scheduled retry and for people.
INSERT INTO failed_blockchain_transfers (transfer_id, error_code, error_message, transaction_id)
SELECT f.transfer_id, f.code, f.reason, f.transaction_id
FROM unnest($1::uuid[], $2::text[], $3::text[], $4::bigint[]) AS f (transfer_id, code, reason, transaction_id)
ORDER BY f.transfer_id
ON CONFLICT (transfer_id) DO UPDATE SET error_code = excluded.error_code, error_message = excluded.error_message,
  transaction_id = excluded.transaction_id, failed_at = now(), failures = failed_blockchain_transfers.failures + 1;

-- name: insert_outcomes
-- Final outcomes of bindings, once.
INSERT INTO chain_outcomes (transaction_id, position, outcome, code, reason)
SELECT o.transaction_id, o.position, o.outcome::outcome, o.code, o.reason
FROM unnest($1::bigint[], $2::smallint[], $3::text[], $4::text[], $5::text[]) AS o (transaction_id, position, outcome, code, reason)
ORDER BY o.transaction_id, o.position
ON CONFLICT DO NOTHING;

-- name: settle_transactions
-- What a block at depth said of nonces, once.
UPDATE chain_transactions x SET final_tx_hash = s.tx_hash, final_block_number = s.block_number, final_block_hash = s.block_hash,
  succeeded = s.succeeded, gas_used = s.gas_used, fee_wei = s.fee_wei::numeric, settled_at = now()
FROM unnest($1::bigint[], $2::bytea[], $3::bigint[], $4::bytea[], $5::bool[], $6::bigint[], $7::text[])
  AS s (transaction_id, tx_hash, block_number, block_hash, succeeded, gas_used, fee_wei)
WHERE x.transaction_id = s.transaction_id AND x.settled_at IS NULL RETURNING x.transaction_id;

-- name: add_lane
-- Registers a lane; one that is known stays as it is.
INSERT INTO chain_lanes (chain_id, signer, next_nonce, max_in_flight) VALUES ($1, $2, $3, $4)
ON CONFLICT (chain_id, signer) DO UPDATE SET max_in_flight = excluded.max_in_flight;

-- name: lane_heads
-- Every lane with the next nonce to give out and the first nonce that isn't settled below.
SELECT l.signer, l.next_nonce, l.halted_reason,
  coalesce((SELECT max(x.nonce) + 1 FROM chain_transactions x
            WHERE x.chain_id = l.chain_id AND x.signer = l.signer AND x.settled_at IS NOT NULL), 0) AS settled_below,
  (SELECT count(*) FROM chain_transactions x
   WHERE x.chain_id = l.chain_id AND x.signer = l.signer AND x.settled_at IS NULL)::int AS open
FROM chain_lanes l WHERE l.chain_id = $1 ORDER BY l.signer;

-- name: chains
-- The chains of the lanes known.
SELECT DISTINCT chain_id FROM chain_lanes;
