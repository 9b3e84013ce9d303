-- name: find_batch
-- A batch with its controls.
SELECT b.*, c.paused, c.cancelled, c.reason AS control_reason
FROM batch_transfers b JOIN batch_controls c USING (batch_id) WHERE b.batch_id = $1;

-- name: lock_batch
-- A batch, held alone until commit.
SELECT * FROM batch_transfers WHERE batch_id = $1 FOR NO KEY UPDATE;

-- name: hold_run
-- A batch whose run goes on, held alone until commit and before any other row: a later run can't begin meanwhile, and
-- a late copy of an earlier run's step finds nothing.
SELECT * FROM batch_transfers WHERE batch_id = $1 AND run_no = $2 AND closed_run < run_no FOR NO KEY UPDATE;

-- name: has_reopenable
-- Whether anything failed that another run could mend: a duplicate never can be.
SELECT EXISTS (SELECT FROM batch_transfer_items WHERE batch_id = $1 AND status = 'FAILED' AND failure_code <> 'DUPLICATE_IN_BATCH');

-- name: open_run
-- A new run of the batch begins, opened by this workflow execution.
UPDATE batch_transfers SET status = CASE WHEN status = 'PAUSED' THEN status ELSE 'PROCESSING' END, run_no = run_no + 1,
  opened_by = $2, started_at = coalesce(started_at, now()), ended_at = NULL
WHERE batch_id = $1 RETURNING *;

-- name: come_back
-- Somebody works on the batch again, though a person had ended its workflow.
UPDATE batch_transfers SET left_at = NULL WHERE batch_id = $1;

-- name: batch_subscriptions
-- Webhook subscriptions that may want a batch's events.
SELECT s.subscription_id FROM webhook_subscriptions s
WHERE s.disabled_at IS NULL AND (s.user_id IS NULL OR s.user_id = $1);

-- name: due_subscriptions
-- Those of them that have deliveries due: woken again by a retried step, whose first go may have died before its wake.
SELECT s.subscription_id FROM webhook_subscriptions s JOIN batch_transfers b
  ON b.batch_id = $1 AND (s.user_id IS NULL OR s.user_id = b.from_user_id)
WHERE s.disabled_at IS NULL AND EXISTS (SELECT FROM webhook_deliveries d WHERE d.subscription_id = s.subscription_id
  AND d.status = 'PENDING' AND d.next_attempt_at <= now());

-- name: set_paused
-- Pause or resume: waits for every binding under way; afterwards none begins.
UPDATE batch_controls SET paused = $2, changed_at = now() WHERE batch_id = $1 AND paused <> $2 RETURNING batch_id;

-- name: show_paused
-- The batch's status follows its pause.
UPDATE batch_transfers SET status = CASE WHEN $2 THEN 'PAUSED'::batch_status ELSE 'PROCESSING' END
WHERE batch_id = $1 AND status IN ('PROCESSING', 'PAUSED');

-- name: set_cancelled
-- The cut of cancel: waits for every creation and binding under way; afterwards none begins.
UPDATE batch_controls SET cancelled = true, reason = coalesce(reason, $2), changed_at = now()
WHERE batch_id = $1 AND NOT cancelled RETURNING batch_id;

-- name: uncancel
-- A run that retries what failed begins without the cancel of the run before it.
UPDATE batch_controls SET cancelled = false, paused = false, reason = NULL, changed_at = now() WHERE batch_id = $1;

-- name: close_run
-- The run's end, once.
UPDATE batch_transfers SET status = $2::text::batch_status, closed_run = run_no, reason = $3, ended_at = now()
WHERE batch_id = $1 AND closed_run < run_no RETURNING run_no;

-- name: unpause
-- A batch that has ended is paused no more: what failed in it may be tried again.
UPDATE batch_controls SET paused = false, changed_at = now() WHERE batch_id = $1 AND paused;

-- name: emit_batch_event
-- The event of the batch's end; answers whom to wake.
SELECT * FROM emit_batch_event($1, $2::text::event_type);

-- name: raise_alert
-- Opens an alert, or counts it where it's open.
INSERT INTO alerts (kind, subject, message) VALUES ($1, $2, $3)
ON CONFLICT (kind, subject) WHERE closed_at IS NULL
DO UPDATE SET seen = alerts.seen + 1, last_seen_at = now(), message = excluded.message;
