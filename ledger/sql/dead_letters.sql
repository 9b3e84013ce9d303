-- name: bury_transfers
-- An open letter for each failed transfer that nothing tries again by itself; one that has a letter counts on. $2: codes
-- where trying again may help, $3: scheduled retries of a transfer that the chain refused.
INSERT INTO dead_letters AS d (kind, transfer_id, batch_id, item_no, code, reason, attempts, first_failed_at, payload_ref)
SELECT (CASE WHEN f.transfer_id IS NOT NULL OR t.batch_id IS NULL THEN 'transfer' ELSE 'item' END)::dead_letter_kind,
  t.transfer_id, t.batch_id, t.item_no, t.failure_code, coalesce(t.failure_reason, t.failure_code),
  greatest(f.failures, i.tries, t.tries, 1),
  least(now(), (SELECT min(x.settled_at) FROM chain_bindings b JOIN chain_outcomes o USING (transaction_id, position)
                JOIN chain_transactions x USING (transaction_id) WHERE b.transfer_id = t.transfer_id AND o.outcome = 'failed')),
  'ticket_transfers/' || t.transfer_id
FROM ticket_transfers t
LEFT JOIN failed_blockchain_transfers f ON f.transfer_id = t.transfer_id
LEFT JOIN batch_transfer_items i ON i.batch_id = t.batch_id AND i.item_no = t.item_no
WHERE t.transfer_id = ANY ($1::uuid[]) AND t.status = 'FAILED' AND t.failure_code <> 'DUPLICATE_IN_BATCH'
  AND (f.transfer_id IS NULL OR f.retry_count >= $3::int OR t.failure_code <> ALL ($2::text[])
       OR t.kind = 'direct' AND EXISTS (SELECT FROM batch_controls c WHERE c.batch_id = t.batch_id AND c.cancelled))
ORDER BY t.transfer_id
ON CONFLICT (transfer_id, subscription_id, event_id, job) WHERE status = 'OPEN' DO UPDATE SET
  kind = excluded.kind, code = excluded.code, reason = excluded.reason, last_failed_at = now(),
  attempts = greatest(excluded.attempts, d.attempts + 1);

-- name: failed_before_cancel
-- The next failed items of a cancelled batch that waited for a scheduled retry: it has none.
SELECT i.item_no, i.transfer_id FROM batch_controls c JOIN batch_transfer_items i USING (batch_id)
JOIN failed_blockchain_transfers f USING (transfer_id)
WHERE c.batch_id = $1 AND c.cancelled AND i.item_no > $2 AND i.status = 'FAILED'
  AND f.error_code = ANY ($4::text[]) AND f.retry_count < $5
  AND NOT EXISTS (SELECT FROM dead_letters d WHERE d.transfer_id = i.transfer_id AND d.status = 'OPEN')
ORDER BY i.item_no LIMIT $3;

-- name: resolve_transfers
-- Transfers that are tried again aren't dead any more. (A letter that a replay holds is being closed by it.)
WITH open AS (
  SELECT dead_letter_id FROM dead_letters WHERE transfer_id = ANY ($1::uuid[]) AND status = 'OPEN' ORDER BY transfer_id FOR UPDATE SKIP LOCKED)
UPDATE dead_letters d SET status = 'RESOLVED', closed_at = now(), closed_by = 'service'
FROM open WHERE d.dead_letter_id = open.dead_letter_id;

-- name: bury_job
-- A scheduled job's run failed for good; the runs that fail while its letter is open count on it.
INSERT INTO dead_letters AS d (kind, job, code, reason, attempts, first_failed_at, payload_ref)
VALUES ('job', $1, $2, $3, 1, now(), $4)
ON CONFLICT (transfer_id, subscription_id, event_id, job) WHERE status = 'OPEN' DO UPDATE SET
  code = excluded.code, reason = excluded.reason, payload_ref = excluded.payload_ref, last_failed_at = now(),
  attempts = d.attempts + 1
WHERE d.payload_ref <> excluded.payload_ref;

-- name: resolve_job
-- A scheduled job went through again.
UPDATE dead_letters SET status = 'RESOLVED', closed_at = now(), closed_by = 'service'
WHERE job = $1 AND transfer_id IS NULL AND subscription_id IS NULL AND event_id IS NULL AND status = 'OPEN';

-- name: bounds
-- Ages as times, by the database's clock.
SELECT now() - coalesce($1::interval, '0') AS failed_by, now() - $2::interval AS failed_after;

-- name: open_page
-- Open letters of a selection behind an id, oldest first.
SELECT l.dead_letter_id FROM dead_letters l
WHERE l.status = 'OPEN'
  AND ($1::uuid[] IS NULL OR l.dead_letter_id = ANY ($1::uuid[])) AND ($2::text IS NULL OR l.kind = $2::text::dead_letter_kind)
  AND ($3::text IS NULL OR l.code = $3) AND ($4::uuid IS NULL OR l.batch_id = $4) AND ($5::uuid IS NULL OR l.subscription_id = $5)
  AND l.last_failed_at <= $6 AND ($7::timestamptz IS NULL OR l.last_failed_at > $7) AND l.dead_letter_id > $8
ORDER BY l.dead_letter_id LIMIT $9;

-- name: list_page
-- Letters of a selection behind an id, of one status or of any, oldest first.
SELECT l.* FROM dead_letters l
WHERE ($10::text IS NULL OR l.status = $10::text::dead_letter_status)
  AND ($1::uuid[] IS NULL OR l.dead_letter_id = ANY ($1::uuid[])) AND ($2::text IS NULL OR l.kind = $2::text::dead_letter_kind)
  AND ($3::text IS NULL OR l.code = $3) AND ($4::uuid IS NULL OR l.batch_id = $4) AND ($5::uuid IS NULL OR l.subscription_id = $5)
  AND l.last_failed_at <= $6 AND ($7::timestamptz IS NULL OR l.last_failed_at > $7) AND l.dead_letter_id > $8
ORDER BY l.dead_letter_id LIMIT $9;

-- name: count_open
-- How many open letters a selection has, and how many of them only a forced replay takes ($8: codes where it needn't be).
SELECT count(*)::int AS open,
  count(*) FILTER (WHERE l.kind IN ('item', 'transfer') AND l.code <> ALL ($8::text[]))::int AS forced_only
FROM dead_letters l
WHERE l.status = 'OPEN'
  AND ($1::uuid[] IS NULL OR l.dead_letter_id = ANY ($1::uuid[])) AND ($2::text IS NULL OR l.kind = $2::text::dead_letter_kind)
  AND ($3::text IS NULL OR l.code = $3) AND ($4::uuid IS NULL OR l.batch_id = $4) AND ($5::uuid IS NULL OR l.subscription_id = $5)
  AND l.last_failed_at <= $6 AND ($7::timestamptz IS NULL OR l.last_failed_at > $7);

-- name: letters
-- Letters by id.
SELECT * FROM dead_letters WHERE dead_letter_id = ANY ($1::uuid[]) ORDER BY dead_letter_id;

-- name: actions
-- What was done about a letter, and by whom.
SELECT action, by, at, replay_id, note FROM dead_letter_actions WHERE dead_letter_id = $1 ORDER BY action_id;

-- name: hold_failed_deliveries
-- The deliveries of letters, held until commit: before the letters, as a drain's record takes them.
SELECT d.event_id FROM webhook_deliveries d JOIN dead_letters l
  ON l.subscription_id = d.subscription_id AND l.event_id = d.event_id
WHERE l.dead_letter_id = ANY ($1::uuid[]) ORDER BY d.subscription_id, d.event_id FOR UPDATE OF d;

-- name: hold_letters
-- Open letters held until commit, in the order in which their subjects' failures take them.
SELECT l.*, t.from_user_id FROM dead_letters l LEFT JOIN ticket_transfers t ON t.transfer_id = l.transfer_id
WHERE l.dead_letter_id = ANY ($1::uuid[]) AND l.status = 'OPEN'
ORDER BY l.transfer_id, l.subscription_id, l.event_id, l.job FOR UPDATE OF l;

-- name: renew_deliveries
-- Failed deliveries get their policy's attempts anew; the log of earlier attempts is kept. Not for a disabled endpoint.
UPDATE webhook_deliveries d SET status = 'PENDING', attempts = 0, next_attempt_at = now(), ended_at = NULL
FROM dead_letters l JOIN webhook_subscriptions s ON s.subscription_id = l.subscription_id AND s.disabled_at IS NULL
WHERE l.dead_letter_id = ANY ($1::uuid[]) AND d.subscription_id = l.subscription_id AND d.event_id = l.event_id AND d.status = 'FAILED'
RETURNING l.dead_letter_id, d.subscription_id;

-- name: taken_up
-- Which of these transfers are failed no more.
SELECT transfer_id FROM ticket_transfers WHERE transfer_id = ANY ($1::uuid[]) AND status <> 'FAILED';

-- name: close_letters
-- Letters that a person replayed or discarded.
UPDATE dead_letters SET status = $2::text::dead_letter_status, closed_at = now(), closed_by = $3
WHERE dead_letter_id = ANY ($1::uuid[]) AND status = 'OPEN' RETURNING dead_letter_id;

-- name: record_actions
-- Who did what about letters.
INSERT INTO dead_letter_actions (dead_letter_id, action, by, replay_id, note)
SELECT id, $2, $3, $4, $5 FROM unnest($1::uuid[]) AS l (id);

-- name: replayed_between
-- What a replay has done in a stretch of ids, in whichever go: how many letters, and whose deliveries are due.
SELECT count(*)::int AS replayed,
  coalesce(array_agg(DISTINCT l.subscription_id) FILTER (WHERE l.subscription_id IS NOT NULL), '{}') AS subscription_ids
FROM dead_letter_actions a JOIN dead_letters l USING (dead_letter_id)
WHERE a.replay_id = $1 AND a.dead_letter_id > $2 AND a.dead_letter_id <= $3;
