-- name: open_batches
-- Open batches by status, with their items by status: a row per open batch is read, none per item.
SELECT b.status::text, count(*)::int AS batches, coalesce(sum(c.queued), 0)::bigint AS queued,
  coalesce(sum(c.processing), 0)::bigint AS processing, coalesce(sum(c.completed), 0)::bigint AS completed,
  coalesce(sum(c.failed), 0)::bigint AS failed, coalesce(sum(c.cancelled), 0)::bigint AS cancelled
FROM batch_transfers b JOIN batch_counters c USING (batch_id) WHERE b.ended_at IS NULL GROUP BY b.status;

-- name: submitted
-- Transfers on their way to the chain, and those of them that belong to batches; by the open nonces, which are few.
SELECT count(*)::int AS transfers, count(t.batch_id)::int AS of_batches
FROM chain_lanes l JOIN chain_transactions x ON x.chain_id = l.chain_id AND x.signer = l.signer AND x.settled_at IS NULL
JOIN chain_bindings b USING (transaction_id) JOIN ticket_transfers t USING (transfer_id)
WHERE t.status = 'SUBMITTED' AND t.bindings = b.binding_no;

-- name: pending_gifts
-- Gifts that wait for their recipient, read by the index of what expires.
SELECT count(*)::int FROM ticket_transfers WHERE live AND expires_at > '-infinity' AND status = 'PENDING';

-- name: lanes
-- Lanes of a chain, with their open nonces and the age of the lowest.
SELECT l.signer, l.max_in_flight, l.halted_reason IS NOT NULL AS halted, open.count::int AS in_flight,
  coalesce(extract(epoch FROM now() - head.bound_at), 0)::float8 AS head_age_s
FROM chain_lanes l
CROSS JOIN LATERAL (SELECT count(*) FROM chain_transactions x
  WHERE x.chain_id = l.chain_id AND x.signer = l.signer AND x.settled_at IS NULL) open
LEFT JOIN LATERAL (SELECT x.bound_at FROM chain_transactions x
  WHERE x.chain_id = l.chain_id AND x.signer = l.signer AND x.settled_at IS NULL ORDER BY x.nonce LIMIT 1) head ON true
WHERE l.chain_id = $1 ORDER BY l.signer;

-- name: costs
-- Gas and fee per ticket of chain transactions settled within $2, from the latest nonces of each lane.
SELECT x.settlement::text, (sum(x.gas_used) / sum(carried.tickets))::float8 AS gas_per_ticket,
  (sum(x.fee_wei) / sum(carried.tickets) / 1000000000)::float8 AS fee_per_ticket_gwei
FROM chain_lanes l
CROSS JOIN LATERAL (
  SELECT latest.* FROM (SELECT y.* FROM chain_transactions y WHERE y.chain_id = l.chain_id AND y.signer = l.signer
                        ORDER BY y.nonce DESC LIMIT 1000) latest
  WHERE latest.settled_at > now() - $2::interval ORDER BY latest.nonce DESC LIMIT 100) x
CROSS JOIN LATERAL (SELECT max(b.position) + 1 AS tickets FROM chain_bindings b WHERE b.transaction_id = x.transaction_id) carried
WHERE l.chain_id = $1 GROUP BY x.settlement;

-- name: endpoints
-- Webhook subscriptions by state, and how long the longest due delivery waits: one probe of the index each.
SELECT count(*) FILTER (WHERE s.disabled_at IS NULL AND s.failing_since IS NULL)::int AS active,
  count(*) FILTER (WHERE s.disabled_at IS NULL AND s.failing_since IS NOT NULL)::int AS failing,
  count(*) FILTER (WHERE s.disabled_at IS NOT NULL)::int AS disabled,
  greatest(extract(epoch FROM now() - min(due.next_attempt_at) FILTER (WHERE s.disabled_at IS NULL)), 0)::float8 AS oldest_due_age_s
FROM webhook_subscriptions s LEFT JOIN LATERAL (
  SELECT d.next_attempt_at FROM webhook_deliveries d WHERE d.subscription_id = s.subscription_id AND d.status = 'PENDING'
  ORDER BY d.next_attempt_at LIMIT 1) due ON true;

-- name: open_dead_letters
-- Open dead letters by kind.
SELECT kind::text, count(*)::int FROM dead_letters WHERE status = 'OPEN' GROUP BY kind;

-- name: buried_mark
-- An id just behind the dead letters of transactions that have surely ended (ids are in the order of time).
SELECT uuidv7(interval '-30 seconds');

-- name: buried_between
-- Dead letters buried between two marks, by kind.
SELECT kind::text, count(*)::int FROM dead_letters WHERE dead_letter_id >= $1 AND dead_letter_id < $2 GROUP BY kind;

-- name: open_alerts
-- Open alerts by kind.
SELECT kind, count(*)::int FROM alerts WHERE closed_at IS NULL GROUP BY kind;
