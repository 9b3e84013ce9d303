-- Rate limits of the whole cluster: what is set, and the token buckets that hold it.

CREATE TABLE rate_limits (
  name text PRIMARY KEY CONSTRAINT known_rate_limit CHECK (
    name IN ('transfers', 'chain-transactions', 'chain-rpc', 'webhooks')
    OR name ~ '^webhooks/[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$'),
  rate_per_s float8 NOT NULL CONSTRAINT usable_rate CHECK (rate_per_s BETWEEN 0.001 AND 1000000),
  changed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  changed_by text NOT NULL CHECK (octet_length(changed_by) BETWEEN 1 AND 200)
);

-- Apart from the limits, for endpoints under the default limit have a bucket each. Rows are never deleted: one that is
-- missing was never taken from, and has filled since its limit was set.
CREATE TABLE rate_buckets (
  name text PRIMARY KEY,
  tokens float8 NOT NULL,
  refilled_at timestamptz NOT NULL
) WITH (fillfactor = 50);
COMMENT ON COLUMN rate_buckets.tokens IS 'negative: more was used than granted, and is paid back before anybody gets more';

-- Fills a bucket up to now, charges what was used beyond earlier grants (negative: gives back what wasn't), and grants
-- up to `wanted` tokens, at most one second's worth. All of it under the bucket's row lock and by this server's clock,
-- so that any number of processes hold the rate together.
--   default_limit  what holds where the bucket has no limit of its own (NULL: nothing does)
--   least_s        nobody gets less than so many seconds' worth, or taking by ones would cut all work to pieces
--   urgent         may leave the bucket in debt, by one second's worth at most
--   wait_s         until it's worth asking again
CREATE FUNCTION take_tokens(
  bucket text, default_limit text, wanted int, charge float8, least_s float8, urgent boolean,
  OUT granted int, OUT wait_s float8
) LANGUAGE plpgsql AS $$
DECLARE
  rate float8;
  set_at timestamptz;
  level float8;
  filled_at timestamptz;
  instant timestamptz;
  capacity float8;
  share float8;
  room float8;
BEGIN
  SELECT l.rate_per_s, l.changed_at INTO rate, set_at
  FROM rate_limits l WHERE l.name IN (bucket, default_limit) ORDER BY l.name = bucket DESC LIMIT 1;
  IF NOT FOUND THEN
    granted := wanted;
    wait_s := 0;
    RETURN;
  END IF;
  INSERT INTO rate_buckets (name, tokens, refilled_at) VALUES (bucket, 0, set_at) ON CONFLICT DO NOTHING;
  SELECT b.tokens, b.refilled_at INTO level, filled_at FROM rate_buckets b WHERE b.name = bucket FOR UPDATE;
  instant := clock_timestamp();
  -- One second's worth, or one token; the quarter is for slow rates: who comes a little late for it loses nothing.
  capacity := greatest(rate, 1.25);
  level := least(capacity, level + rate * greatest(0, extract(epoch FROM instant - filled_at)::float8));
  level := least(capacity, level - charge);
  share := greatest(1, least(wanted, floor(rate * least_s)));
  room := level + CASE WHEN urgent THEN greatest(rate, 1) ELSE 0 END + 1e-9;
  granted := CASE WHEN wanted > 0 AND room >= share THEN least(wanted, greatest(1, floor(rate)), floor(room)) ELSE 0 END;
  wait_s := greatest(0, share - room + granted) / rate;
  UPDATE rate_buckets b SET tokens = level - granted, refilled_at = instant WHERE b.name = bucket;
END
$$;
