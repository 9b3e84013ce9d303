-- name: create_subscription
-- A new subscription.
INSERT INTO webhook_subscriptions
  (url, secret, user_id, event_types, max_attempts, first_delay_s, delay_coefficient, max_delay_s)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
RETURNING *;

-- name: list_subscriptions
-- Subscriptions, oldest first, with what is still to be delivered to each; disabled ones only if asked for.
SELECT s.*,
  (SELECT count(*) FROM webhook_deliveries d WHERE d.subscription_id = s.subscription_id AND d.status = 'PENDING') AS pending
FROM webhook_subscriptions s
WHERE $1 OR s.disabled_at IS NULL
ORDER BY s.created_at, s.subscription_id;

-- name: subscription
-- One subscription.
SELECT * FROM webhook_subscriptions WHERE subscription_id = $1;

-- name: disable_subscription
-- No new deliveries and no more attempts; what is pending stays. The first reason is kept.
UPDATE webhook_subscriptions SET disabled_at = now(), disabled_reason = $2
WHERE subscription_id = $1 AND disabled_at IS NULL
RETURNING subscription_id;

-- name: first_due_page
-- Deliveries of a subscription that are due, longest due first, with the stored bodies.
SELECT d.event_id, d.attempts, d.next_attempt_at, e.body, e.trace
FROM webhook_deliveries d LEFT JOIN events e USING (event_id)
WHERE d.subscription_id = $1 AND d.status = 'PENDING' AND d.next_attempt_at <= now()
ORDER BY d.next_attempt_at, d.event_id
LIMIT $2;

-- name: next_due_page
-- The same from behind a mark: what was read before may still be open, so it can't be told by its status.
SELECT d.event_id, d.attempts, d.next_attempt_at, e.body, e.trace
FROM webhook_deliveries d LEFT JOIN events e USING (event_id)
WHERE d.subscription_id = $1 AND d.status = 'PENDING' AND d.next_attempt_at <= now()
  AND (d.next_attempt_at, d.event_id) > ($3, $4)
ORDER BY d.next_attempt_at, d.event_id
LIMIT $2;

-- name: record_attempts
-- Logs attempts and moves their deliveries on. Every request is logged. An attempt number counts once, whichever copy
-- of a drain comes first; a success counts whenever it comes, for the receiver has the event. A delivery whose attempts
-- are used up gets a dead letter, unless its endpoint is disabled; a success after that closes it.
WITH result AS (
  SELECT * FROM unnest($2::uuid[], $3::int[], $4::text[], $5::float8[], $6::timestamptz[], $7::int[], $8::int[],
                       $9::text[], $10::text[])
    AS r (event_id, attempt_no, status, delay_s, started_at, duration_ms, http_status, error_code, response)
), moved AS (
  UPDATE webhook_deliveries d SET
    status = r.status::delivery_status,
    attempts = greatest(d.attempts, r.attempt_no),
    next_attempt_at = CASE WHEN r.status = 'PENDING' THEN now() + make_interval(secs => r.delay_s) END,
    last_error = CASE WHEN r.error_code = 'HTTP_STATUS' THEN 'HTTP ' || r.http_status ELSE r.error_code END,
    ended_at = CASE WHEN r.status <> 'PENDING' THEN now() END
  FROM result r
  WHERE d.subscription_id = $1 AND d.event_id = r.event_id
    AND (d.status = 'PENDING' AND d.attempts = r.attempt_no - 1 OR r.status = 'DELIVERED' AND d.status <> 'DELIVERED')
  RETURNING d.event_id, old.status AS was, new.status, new.attempts, new.last_error, r.started_at, r.http_status, r.error_code
), buried AS (
  INSERT INTO dead_letters (kind, subscription_id, event_id, code, reason, attempts, first_failed_at, payload_ref)
  SELECT 'delivery', $1, m.event_id, m.error_code, m.last_error, m.attempts,
    least(now(), m.started_at, (SELECT min(a.started_at) FROM webhook_attempts a
                                WHERE a.subscription_id = $1 AND a.event_id = m.event_id)), 'events/' || m.event_id
  FROM moved m JOIN webhook_subscriptions s ON s.subscription_id = $1 AND s.disabled_at IS NULL
  WHERE m.status = 'FAILED' ORDER BY m.event_id
  ON CONFLICT DO NOTHING
), resolved AS (
  UPDATE dead_letters l SET status = 'RESOLVED', closed_at = now(), closed_by = 'service'
  FROM moved m WHERE m.was = 'FAILED' AND l.subscription_id = $1 AND l.event_id = m.event_id
    AND l.transfer_id IS NULL AND l.job IS NULL AND l.status = 'OPEN'
), endpoint AS (
  UPDATE webhook_subscriptions SET failing_since = CASE WHEN $11::boolean THEN now() END
  WHERE subscription_id = $1 AND (failing_since IS NOT NULL) <> $11
)
INSERT INTO webhook_attempts
  (subscription_id, event_id, attempt_no, started_at, duration_ms, http_status, error_code, response)
SELECT $1, r.event_id, r.attempt_no, r.started_at, r.duration_ms, r.http_status, r.error_code, r.response FROM result r
ON CONFLICT DO NOTHING;

-- name: next_due_in_s
-- Seconds until a subscription's next delivery is due, by the database's clock; no row if nothing is pending.
SELECT greatest(extract(epoch FROM d.next_attempt_at - clock_timestamp()), 0)::float8
FROM webhook_deliveries d
WHERE d.subscription_id = $1 AND d.status = 'PENDING'
ORDER BY d.next_attempt_at
LIMIT 1;

-- name: due_subscriptions
-- Subscriptions with due deliveries: one probe of the index each.
SELECT s.subscription_id FROM webhook_subscriptions s
WHERE s.disabled_at IS NULL AND EXISTS (
  SELECT FROM webhook_deliveries d
  WHERE d.subscription_id = s.subscription_id AND d.status = 'PENDING' AND d.next_attempt_at <= now());
