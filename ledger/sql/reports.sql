-- name: ended_jobs
-- How many items, transfers and deliveries ended since $1, and how many of them failed. An accepted gift is a transfer,
-- also one of a batch: its item had ended before. Reads the block ranges (32 pages each) that hold a row that ended then.
SELECT 'item' AS job_type, count(*)::int AS ended, count(*) FILTER (WHERE status = 'FAILED')::int AS failed
FROM batch_transfer_items WHERE ended_at >= $1 AND status IN ('COMPLETED', 'FAILED')
UNION ALL
SELECT 'transfer', count(*)::int, count(*) FILTER (WHERE status = 'FAILED')::int
FROM ticket_transfers WHERE ended_at >= $1 AND (batch_id IS NULL OR accepted_at IS NOT NULL) AND status IN ('COMPLETED', 'FAILED')
UNION ALL
SELECT 'delivery', count(*)::int, count(*) FILTER (WHERE status = 'FAILED')::int
FROM webhook_deliveries WHERE ended_at >= $1;

-- name: new_dead_letters
-- Dead letters of the last $1 that are open still, by kind. Their ids are in the order of time: a range of the primary key.
SELECT kind::text, count(*)::int AS count FROM dead_letters
WHERE dead_letter_id >= (SELECT uuidv7(-$1::interval)) AND status = 'OPEN' GROUP BY kind ORDER BY kind;

-- name: lane_ages
-- The lowest open nonce of each lane, by the index of open chain transactions.
SELECT DISTINCT ON (x.chain_id, x.signer) x.chain_id, x.signer, x.nonce,
  extract(epoch FROM now() - x.bound_at)::float8 AS age_s
FROM chain_transactions x WHERE x.settled_at IS NULL ORDER BY x.chain_id, x.signer, x.nonce;

-- name: lanes
-- Lanes that are in use.
SELECT chain_id, signer FROM chain_lanes WHERE halted_reason IS NULL ORDER BY chain_id, signer;

-- name: disabled_since
-- Subscriptions disabled since $1.
SELECT subscription_id, url, disabled_reason FROM webhook_subscriptions WHERE disabled_at >= $1 ORDER BY subscription_id;

-- name: failures
-- What failed since $1, by job type, code and endpoint, with its latest as the example. Reads the same block ranges.
WITH failed AS (
  SELECT 'item' AS job_type, failure_code AS code, NULL::text AS endpoint, ended_at AS at,
    'batch/' || batch_id || ' item ' || item_no AS example, failure_reason AS reason
  FROM batch_transfer_items WHERE ended_at >= $1 AND status = 'FAILED'
  UNION ALL
  SELECT CASE WHEN kind = 'gift' THEN 'gift' ELSE 'transfer' END, failure_code, NULL, ended_at,
    'transfer/' || transfer_id, failure_reason
  FROM ticket_transfers WHERE ended_at >= $1 AND status = 'FAILED' AND (batch_id IS NULL OR kind = 'gift')
  UNION ALL
  SELECT 'delivery', coalesce(d.last_error, 'UNKNOWN'), s.url, d.ended_at,
    'webhook/' || d.subscription_id || ' event ' || d.event_id, 'attempt ' || d.attempts || ' was the last'
  FROM webhook_deliveries d JOIN webhook_subscriptions s USING (subscription_id)
  WHERE d.ended_at >= $1 AND d.status = 'FAILED'
  UNION ALL
  SELECT 'batch', 'BATCH_FAILED', NULL, ended_at, 'batch/' || batch_id, reason
  FROM batch_transfers WHERE ended_at >= $1 AND status = 'FAILED'
  UNION ALL
  SELECT 'job', code, NULL, last_failed_at, payload_ref, reason
  FROM dead_letters WHERE kind = 'job' AND last_failed_at >= $1
)
SELECT job_type, code, endpoint, count(*)::int AS count, min(at) AS first_at, max(at) AS last_at,
  (array_agg(example ORDER BY at DESC))[1] AS example, (array_agg(reason ORDER BY at DESC))[1] AS reason
FROM failed GROUP BY job_type, code, endpoint ORDER BY count DESC, job_type, code, endpoint;

-- name: processing_times
-- How long what ended well since $1 took, in seconds, by job type and phase. Reads the same block ranges.
WITH took AS (
  SELECT CASE WHEN t.kind = 'gift' THEN 'gift' WHEN t.batch_id IS NULL THEN 'transfer' ELSE 'item' END AS job_type, p.*
  FROM ticket_transfers t
  CROSS JOIN LATERAL (SELECT coalesce(t.accepted_at, t.created_at) AS began) b
  CROSS JOIN LATERAL (VALUES ('queued', t.submitted_at - b.began), ('chain', t.ended_at - t.submitted_at),
                             ('total', t.ended_at - b.began)) p (phase, span)
  WHERE t.ended_at >= $1 AND t.status = 'COMPLETED'
  UNION ALL
  SELECT 'batch', p.*
  FROM batch_transfers b
  CROSS JOIN LATERAL (VALUES ('queued', b.started_at - b.created_at), ('total', b.ended_at - b.started_at)) p (phase, span)
  WHERE b.ended_at >= $1 AND b.status IN ('COMPLETED', 'COMPLETED_WITH_FAILURES')
  UNION ALL
  SELECT 'delivery', 'total', d.ended_at - d.created_at
  FROM webhook_deliveries d WHERE d.ended_at >= $1 AND d.status = 'DELIVERED'
), seconds AS (
  SELECT job_type, phase, extract(epoch FROM span)::float8 AS s FROM took WHERE span IS NOT NULL
)
SELECT job_type, phase, count(*)::int AS count, percentile_cont(0.5) WITHIN GROUP (ORDER BY s) AS p50_s,
  percentile_cont(0.95) WITHIN GROUP (ORDER BY s) AS p95_s, max(s) AS max_s
FROM seconds GROUP BY job_type, phase
ORDER BY job_type, array_position(ARRAY['queued', 'chain', 'total'], phase);

-- name: processing_times_of_batch
-- The same for the items of one batch, whenever they ended: by the items' key and their transfers' key.
WITH took AS (
  SELECT p.*
  FROM batch_transfer_items i JOIN ticket_transfers t USING (transfer_id)
  CROSS JOIN LATERAL (SELECT coalesce(t.accepted_at, t.created_at) AS began) b
  CROSS JOIN LATERAL (VALUES ('queued', t.submitted_at - b.began), ('chain', t.ended_at - t.submitted_at),
                             ('total', t.ended_at - b.began)) p (phase, span)
  WHERE i.batch_id = $1 AND t.status = 'COMPLETED'
), seconds AS (
  SELECT phase, extract(epoch FROM span)::float8 AS s FROM took WHERE span IS NOT NULL
)
SELECT 'item' AS job_type, phase, count(*)::int AS count, percentile_cont(0.5) WITHIN GROUP (ORDER BY s) AS p50_s,
  percentile_cont(0.95) WITHIN GROUP (ORDER BY s) AS p95_s, max(s) AS max_s
FROM seconds GROUP BY phase ORDER BY array_position(ARRAY['queued', 'chain', 'total'], phase);

-- name: slowest_items
-- The items of a batch that took longest.
SELECT i.item_no, extract(epoch FROM t.submitted_at - coalesce(t.accepted_at, t.created_at))::float8 AS queued_s,
  extract(epoch FROM t.ended_at - t.submitted_at)::float8 AS chain_s,
  extract(epoch FROM t.ended_at - coalesce(t.accepted_at, t.created_at))::float8 AS total_s
FROM batch_transfer_items i JOIN ticket_transfers t USING (transfer_id)
WHERE i.batch_id = $1 AND t.status = 'COMPLETED' ORDER BY total_s DESC, i.item_no LIMIT $2;

-- name: find_batch
-- Whether there is such a batch.
SELECT EXISTS (SELECT FROM batch_transfers WHERE batch_id = $1);
