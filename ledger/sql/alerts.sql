-- name: begin_check
-- Two checks at once take turns: each sees what the other opened, told and closed.
SELECT pg_advisory_xact_lock(7304912);

-- name: see_conditions
-- Opens an alert for each condition, or counts it where it's open.
INSERT INTO alerts (kind, subject, severity, message, value, threshold)
SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::float8[], $6::float8[])
ON CONFLICT (kind, subject) WHERE closed_at IS NULL
DO UPDATE SET seen = alerts.seen + 1, last_seen_at = now(), severity = excluded.severity, message = excluded.message,
  value = excluded.value, threshold = excluded.threshold;

-- name: close_over
-- Closes alerts of the kinds that this check measured ($1) whose condition isn't among those it found ($2, $3).
UPDATE alerts a SET closed_at = now(), close_message = 'the condition is over'
WHERE a.closed_at IS NULL AND a.kind = ANY($1::text[])
  AND NOT EXISTS (SELECT FROM unnest($2::text[], $3::text[]) f (kind, subject) WHERE f.kind = a.kind AND f.subject = a.subject);

-- name: close_quiet
-- Closes alerts that are raised where they're met (not of the kinds $1) and weren't for a time. A lane's are met
-- every few seconds while they last. Told first. Never what is closed elsewhere when it's over: stale batches and
-- transfers and failed jobs by their next good run, and a batch that a defect paused once it goes on.
UPDATE alerts a SET closed_at = now(),
  close_message = 'not met again since ' || to_char(a.last_seen_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS') || ' UTC'
WHERE a.closed_at IS NULL AND a.kind <> ALL($1::text[])
  AND a.last_seen_at < now() - CASE WHEN a.kind IN ('LANE_CONDITION', 'FOREIGN_NONCE')
    THEN least($2::interval, '10 minutes') ELSE $2::interval END
  AND a.last_told_at IS NOT NULL
  AND a.kind NOT IN ('STALE_BATCH', 'STALE_TRANSFER') AND a.subject NOT LIKE 'schedule/%'
  AND NOT (a.kind = 'REPEATED_DEFECT' AND EXISTS (
    SELECT FROM batch_transfers b WHERE 'batch/' || b.batch_id = a.subject AND b.status = 'PAUSED'));

-- name: to_tell
-- Alerts whose opening, repetition ($1 after the last notice, none once acknowledged) or end is to be told now.
SELECT a.*, CASE WHEN a.last_told_at IS NULL THEN 'opened' WHEN a.closed_at IS NULL THEN 'repeated' ELSE 'closed' END AS notice
FROM alerts a
WHERE NOT a.close_told AND (
  a.last_told_at IS NULL OR a.closed_at IS NOT NULL
  OR a.acked_at IS NULL AND a.last_told_at <= now() - $1::interval)
ORDER BY a.alert_id
LIMIT 500;

-- name: write_notices
-- The messages, one per channel; a channel that still waits for an earlier one isn't given repetitions.
INSERT INTO alert_notices (alert_id, kind, channel, body)
SELECT n.* FROM unnest($1::bigint[], $2::text[], $3::text[], $4::text[]) n (alert_id, kind, channel, body)
WHERE n.kind <> 'repeated' OR NOT EXISTS (
  SELECT FROM alert_notices b WHERE b.alert_id = n.alert_id AND b.channel = n.channel AND b.sent_at IS NULL);

-- name: set_told
-- Their notices are written.
UPDATE alerts a SET last_told_at = now(), close_told = t.kind = 'closed'
FROM unnest($1::bigint[], $2::text[]) t (alert_id, kind) WHERE a.alert_id = t.alert_id;

-- name: count_open
-- How many alerts are open.
SELECT count(*)::int FROM alerts WHERE closed_at IS NULL;

-- name: claim_notices
-- The next due message of each alert and channel, in their order. Whoever claimed it and died leaves it due again after
-- $3.
UPDATE alert_notices n SET attempts = n.attempts + 1, next_attempt_at = now() + $3::interval
FROM (
  SELECT c.notice_id FROM alert_notices c
  WHERE c.sent_at IS NULL AND c.next_attempt_at <= now() AND c.channel = ANY($1::text[])
    AND NOT EXISTS (SELECT FROM alert_notices b WHERE b.alert_id = c.alert_id AND b.channel = c.channel
                    AND b.sent_at IS NULL AND b.notice_id < c.notice_id)
  ORDER BY c.notice_id LIMIT $2 FOR UPDATE SKIP LOCKED
) next
WHERE n.notice_id = next.notice_id
RETURNING n.notice_id, n.channel, n.kind, n.body;

-- name: notice_sent
-- The receiver has it.
UPDATE alert_notices SET sent_at = now(), next_attempt_at = NULL, last_error = NULL WHERE notice_id = $1 AND sent_at IS NULL;

-- name: notice_failed
-- The receiver hasn't taken it: again after 15 s, doubled each time, a quarter of an hour at most.
UPDATE alert_notices SET last_error = $2,
  next_attempt_at = now() + make_interval(secs => least(15 * 2 ^ least(attempts - 1, 10), 900))
WHERE notice_id = $1 AND sent_at IS NULL;

-- name: count_waiting
-- Messages still to be sent to these channels.
SELECT count(*)::int FROM alert_notices WHERE sent_at IS NULL AND channel = ANY($1::text[]);

-- name: list_alerts
-- Alerts, the newest first; closed ones only if asked for.
SELECT a.alert_id, a.kind, a.subject, a.severity, a.message, a.value, a.threshold, a.seen, a.opened_at, a.last_seen_at,
  a.closed_at, a.close_message, a.acked_at, a.acked_by,
  (SELECT count(*)::int FROM alert_notices n WHERE n.alert_id = a.alert_id AND n.sent_at IS NULL) AS unsent
FROM alerts a WHERE $1 OR a.closed_at IS NULL ORDER BY a.opened_at DESC, a.alert_id DESC LIMIT $2;

-- name: find_alert
-- One alert.
SELECT a.alert_id, a.kind, a.subject, a.severity, a.message, a.value, a.threshold, a.seen, a.opened_at, a.last_seen_at,
  a.closed_at, a.close_message, a.acked_at, a.acked_by,
  (SELECT count(*)::int FROM alert_notices n WHERE n.alert_id = a.alert_id AND n.sent_at IS NULL) AS unsent
FROM alerts a WHERE a.alert_id = $1;

-- name: ack_alert
-- Acknowledges an open alert; the first who did stays named.
UPDATE alerts SET acked_at = now(), acked_by = $2 WHERE alert_id = $1 AND closed_at IS NULL AND acked_at IS NULL;
