-- name: set_rate_limit
-- A limit, new or changed.
INSERT INTO rate_limits (name, rate_per_s, changed_by) VALUES ($1, $2, $3)
ON CONFLICT (name) DO UPDATE
SET rate_per_s = excluded.rate_per_s, changed_at = excluded.changed_at, changed_by = excluded.changed_by
RETURNING *;

-- name: clear_rate_limit
-- No limit any more (for an endpoint: the default again).
DELETE FROM rate_limits WHERE name = $1 RETURNING name;

-- name: empty_buckets
-- Buckets of a limit that has changed start empty; those of the default are the endpoints' without a limit of their own.
UPDATE rate_buckets b SET tokens = 0, refilled_at = clock_timestamp()
WHERE b.name = $1
   OR $1 = 'webhooks' AND starts_with(b.name, 'webhooks/') AND NOT EXISTS (SELECT FROM rate_limits l WHERE l.name = b.name);

-- name: rate_limits
-- All limits by name.
SELECT * FROM rate_limits ORDER BY name;

-- name: has_endpoint
-- Whether there is such a webhook subscription.
SELECT EXISTS (SELECT FROM webhook_subscriptions WHERE subscription_id = $1);

-- name: take_tokens
-- Refills, charges and grants in one go (migration 0004): bucket, default limit, wanted, charge, least seconds' worth, urgent.
SELECT granted, wait_s FROM take_tokens($1, $2, $3, $4, $5, $6);
