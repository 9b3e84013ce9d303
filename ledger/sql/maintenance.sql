-- name: expire_page
-- The next gifts whose time is over end EXPIRED, and their tickets are free; those that somebody decides just now are left.
WITH due AS (
  SELECT transfer_id, expires_at FROM ticket_transfers
  WHERE live AND expires_at <= now() AND (expires_at, transfer_id) > ($1::timestamptz, $2::uuid) AND status = 'PENDING'
  ORDER BY expires_at, transfer_id LIMIT $3 FOR NO KEY UPDATE SKIP LOCKED)
UPDATE ticket_transfers t SET status = 'EXPIRED', ended_at = now() FROM due
WHERE t.transfer_id = due.transfer_id AND t.status = 'PENDING'
RETURNING due.expires_at, t.transfer_id;

-- name: claim_retries
-- The next failed transfers that are due for a scheduled retry, oldest first; claimed for some minutes by the time of it.
-- A batch that runs tries its items itself; in one that was cancelled nothing is tried again.
WITH due AS (
  SELECT f.transfer_id, t.from_user_id FROM failed_blockchain_transfers f JOIN ticket_transfers t USING (transfer_id)
  WHERE (f.failed_at, f.transfer_id) > ($1::timestamptz, $2::uuid) AND f.retry_count < $3
    AND (f.last_retry_at IS NULL OR f.last_retry_at <= now() - $4::interval)
    AND t.status = 'FAILED' AND t.failure_code = ANY ($5::text[])
    AND (t.batch_id IS NULL OR t.kind = 'gift' OR EXISTS (
      SELECT FROM batch_transfers b JOIN batch_controls c USING (batch_id)
      WHERE b.batch_id = t.batch_id AND b.ended_at IS NOT NULL AND NOT c.cancelled))
  ORDER BY f.failed_at, f.transfer_id LIMIT $6 FOR NO KEY UPDATE OF f SKIP LOCKED)
UPDATE failed_blockchain_transfers f SET last_retry_at = now() FROM due WHERE f.transfer_id = due.transfer_id
RETURNING f.failed_at, f.transfer_id, due.from_user_id;

-- name: archived_subscriptions
-- Whose deliveries are looked through, disabled ones included.
SELECT subscription_id FROM webhook_subscriptions WHERE subscription_id > $1 ORDER BY subscription_id;

-- name: page_to_archive
-- The next finished deliveries of a subscription past their retention, held until commit. Event ids are in the order of
-- time, so that the primary key finds the old ones.
SELECT d.event_id, date_trunc('month', d.ended_at AT TIME ZONE 'UTC') AS month FROM webhook_deliveries d
WHERE d.subscription_id = $1 AND d.event_id > $2 AND d.event_id < (SELECT uuidv7(-$3::interval))
  AND d.status <> 'PENDING' AND d.ended_at <= now() - $3::interval
  AND NOT EXISTS (SELECT FROM dead_letters l WHERE l.status = 'OPEN' AND l.transfer_id IS NULL AND l.job IS NULL
                  AND l.subscription_id = d.subscription_id AND l.event_id = d.event_id)
ORDER BY d.event_id LIMIT $4 FOR UPDATE OF d SKIP LOCKED;

-- name: make_archive_month
-- The month's partitions, where they're missing.
SELECT make_archive_month($1);

-- name: archive_deliveries
-- Moves held deliveries and their attempts to the archive.
WITH gone AS (
  DELETE FROM webhook_deliveries d WHERE d.subscription_id = $1 AND d.event_id = ANY ($2::uuid[]) AND d.status <> 'PENDING'
  RETURNING d.*
), gone_attempts AS (
  DELETE FROM webhook_attempts a USING gone g WHERE a.subscription_id = $1 AND a.event_id = g.event_id
  RETURNING a.*, g.ended_at
), kept AS (
  INSERT INTO webhook_deliveries_archive (subscription_id, event_id, status, attempts, last_error, created_at, ended_at)
  SELECT subscription_id, event_id, status, attempts, last_error, created_at, ended_at FROM gone
), kept_attempts AS (
  INSERT INTO webhook_attempts_archive
    (subscription_id, event_id, attempt_no, started_at, duration_ms, http_status, error_code, response, ended_at)
  SELECT subscription_id, event_id, attempt_no, started_at, duration_ms, http_status, error_code, response, ended_at
  FROM gone_attempts
)
SELECT (SELECT count(*) FROM gone)::int AS deliveries, (SELECT count(*) FROM gone_attempts)::int AS attempts;

-- name: open_batches_page
-- The next batches that aren't ended: those in work, paused, or staged whole and not begun for a while.
SELECT b.batch_id, b.from_user_id, b.status, b.item_count, b.request_sha256, b.run_no,
  b.created_at <= now() - $3::interval AS too_old, b.left_at IS NOT NULL AS left_alone
FROM batch_transfers b
WHERE b.ended_at IS NULL AND b.batch_id > $1
  AND (b.run_no > 0 OR b.created_at <= now() - $2::interval AND b.request_sha256 IS NOT NULL)
ORDER BY b.batch_id LIMIT $4;

-- name: is_open
-- Whether a batch isn't ended as of now.
SELECT ended_at IS NULL FROM batch_transfers WHERE batch_id = $1;

-- name: leave_batch
-- A person ended the workflow of a batch that is open: nobody but a person begins it again.
UPDATE batch_transfers SET left_at = now() WHERE batch_id = $1 AND ended_at IS NULL AND left_at IS NULL;

-- name: leave_transfer
-- The same of a transfer that has a workflow of its own.
UPDATE ticket_transfers SET left_at = now() WHERE transfer_id = $1 AND live AND left_at IS NULL;

-- name: fail_staged
-- A batch that was staged and never begun ends FAILED; nothing of it can begin after this.
UPDATE batch_transfers SET status = 'FAILED', run_no = 1, closed_run = 1, opened_by = $2, reason = $3, ended_at = now()
WHERE batch_id = $1 AND status = 'QUEUED' AND run_no = 0 AND ended_at IS NULL RETURNING batch_id;

-- name: failed_with_queued
-- Batches that ended FAILED and have items that aren't cancelled yet.
SELECT b.batch_id FROM batch_transfers b JOIN batch_counters c USING (batch_id)
WHERE b.status = 'FAILED' AND c.queued > 0 ORDER BY b.batch_id LIMIT $1;

-- name: hold_failed_batch
-- A batch that ended FAILED, held alone until commit and before any other row.
SELECT batch_id FROM batch_transfers WHERE batch_id = $1 AND status = 'FAILED' FOR NO KEY UPDATE;

-- name: cancel_queued_page
-- The next items that never began are cancelled.
WITH held AS (
  SELECT item_no FROM batch_transfer_items WHERE batch_id = $1 AND item_no > $2 AND status = 'QUEUED'
  ORDER BY item_no LIMIT $3 FOR NO KEY UPDATE)
UPDATE batch_transfer_items i SET status = 'CANCELLED', next_try_at = NULL, ended_at = now() FROM held
WHERE i.batch_id = $1 AND i.item_no = held.item_no RETURNING i.item_no;

-- name: batches_to_compare
-- The next batches that aren't in work just now: staged, paused, or ended not long ago.
SELECT batch_id FROM batch_transfers
WHERE batch_id > $1 AND request_sha256 IS NOT NULL
  AND (ended_at > now() - $2::interval OR ended_at IS NULL AND status IN ('QUEUED', 'PAUSED'))
ORDER BY batch_id LIMIT $3;

-- name: hold_counters
-- A batch's counters, held alone until commit: nobody who changes its items can commit meanwhile.
SELECT * FROM batch_counters WHERE batch_id = $1 FOR NO KEY UPDATE;

-- name: count_by_status
-- A batch's items as they stand.
SELECT count(*)::int AS item_count, count(*) FILTER (WHERE status = 'QUEUED')::int AS queued,
  count(*) FILTER (WHERE status = 'PROCESSING')::int AS processing, count(*) FILTER (WHERE status = 'COMPLETED')::int AS completed,
  count(*) FILTER (WHERE status = 'FAILED')::int AS failed, count(*) FILTER (WHERE status = 'CANCELLED')::int AS cancelled
FROM batch_transfer_items WHERE batch_id = $1;

-- name: repair_counters
-- The counters as the items say.
UPDATE batch_counters SET item_count = $2, queued = $3, processing = $4, completed = $5, failed = $6, cancelled = $7
WHERE batch_id = $1;

-- name: stale_transfers_page
-- The next transfers on their way that a workflow of their own brings to its end: single ones, accepted gifts, and items
-- of ended batches that are retried alone (which had a try, and are found by the index of those).
SELECT transfer_id, from_user_id, works_for, left_alone FROM (
  SELECT t.transfer_id, t.from_user_id, NULL::uuid AS works_for, t.left_at IS NOT NULL AS left_alone FROM ticket_transfers t
  WHERE t.live AND (t.batch_id IS NULL OR t.kind = 'gift') AND t.status <> 'PENDING'
  UNION ALL
  SELECT t.transfer_id, b.from_user_id, b.batch_id, t.left_at IS NOT NULL FROM batch_counters c
  JOIN batch_transfers b USING (batch_id) JOIN batch_transfer_items i USING (batch_id) JOIN ticket_transfers t USING (transfer_id)
  WHERE c.processing > 0 AND b.ended_at IS NOT NULL AND i.next_try_at IS NOT NULL AND i.status = 'PROCESSING'
) own WHERE transfer_id > $1 ORDER BY transfer_id LIMIT $2;

-- name: close_unseen_alerts
-- Alerts of some kinds that weren't raised again since $2.
UPDATE alerts SET closed_at = now(), close_message = $3
WHERE kind = ANY ($1::text[]) AND closed_at IS NULL AND last_seen_at < $2 RETURNING alert_id;

-- name: close_alert
-- What an alert is about is over.
UPDATE alerts SET closed_at = now(), close_message = $3 WHERE kind = $1 AND subject = $2 AND closed_at IS NULL;
