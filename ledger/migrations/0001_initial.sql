-- The tables of the transfer service. Invariants are stated here, so that a bug becomes an error and not bad data.

CREATE DOMAIN user_id AS text CHECK (octet_length(VALUE) BETWEEN 1 AND 64);
CREATE DOMAIN address AS bytea CHECK (octet_length(VALUE) = 20);
CREATE DOMAIN hash32 AS bytea CHECK (octet_length(VALUE) = 32);
CREATE DOMAIN ticket_id AS text COLLATE "C" CHECK (VALUE ~ '^(0|[1-9][0-9]{0,77})$');

CREATE TYPE transfer_status AS ENUM
  ('PENDING', 'ACCEPTED', 'SUBMITTED', 'COMPLETED', 'FAILED', 'CANCELLED', 'EXPIRED', 'DECLINED');
CREATE TYPE transfer_kind AS ENUM ('direct', 'gift');
CREATE TYPE item_status AS ENUM ('QUEUED', 'PROCESSING', 'COMPLETED', 'FAILED', 'CANCELLED');
CREATE TYPE batch_status AS ENUM
  ('QUEUED', 'PROCESSING', 'PAUSED', 'COMPLETED', 'COMPLETED_WITH_FAILURES', 'CANCELLED', 'FAILED');
CREATE TYPE settlement AS ENUM ('batched', 'single');
CREATE TYPE outcome AS ENUM ('moved', 'failed', 'skipped');
CREATE TYPE attempt_kind AS ENUM ('payload', 'cancel');
CREATE TYPE delivery_status AS ENUM ('PENDING', 'DELIVERED', 'FAILED');
CREATE TYPE event_type AS ENUM
  ('transfer.created', 'transfer.accepted', 'transfer.submitted', 'transfer.completed', 'transfer.failed',
   'transfer.expired', 'transfer.declined', 'transfer.cancelled',
   'batch.completed', 'batch.cancelled', 'batch.failed');

-- People and tickets ---------------------------------------------------------------------------------------------

CREATE TABLE wallets (
  user_id user_id PRIMARY KEY,
  address address NOT NULL UNIQUE
);

CREATE TABLE tickets (
  ticket_id ticket_id PRIMARY KEY,
  token address NOT NULL,
  holder address NOT NULL,
  owner_user_id user_id
) WITH (fillfactor = 80);
COMMENT ON COLUMN tickets.owner_user_id IS 'NULL once the ticket went to a wallet of nobody we know';

-- Batches --------------------------------------------------------------------------------------------------------

CREATE TABLE batch_transfers (
  batch_id uuid PRIMARY KEY,
  from_user_id user_id NOT NULL,
  request_sha256 hash32,
  settlement settlement NOT NULL,
  kind transfer_kind NOT NULL DEFAULT 'direct',
  status batch_status NOT NULL DEFAULT 'QUEUED',
  item_count int NOT NULL DEFAULT 0 CHECK (item_count BETWEEN 0 AND 1000000),
  run_no int NOT NULL DEFAULT 0,
  opened_by text,
  closed_run int NOT NULL DEFAULT 0 CHECK (closed_run <= run_no),
  reason text,
  created_at timestamptz NOT NULL DEFAULT now(),
  started_at timestamptz,
  ended_at timestamptz,
  CONSTRAINT started_has_run CHECK (status = 'QUEUED' OR status = 'PAUSED' OR status = 'CANCELLED' OR run_no > 0),
  CONSTRAINT ended_has_time CHECK ((status IN ('QUEUED', 'PROCESSING', 'PAUSED')) = (ended_at IS NULL))
);
COMMENT ON COLUMN batch_transfers.request_sha256 IS 'set in the transaction that writes the batch, once all items are read';
COMMENT ON COLUMN batch_transfers.opened_by IS 'first run id of the workflow execution that opened run_no';
CREATE INDEX batch_transfers_recent ON batch_transfers (created_at DESC);

-- The cut of pause and cancel: whoever creates, binds or reopens holds this row FOR SHARE until commit.
CREATE TABLE batch_controls (
  batch_id uuid PRIMARY KEY REFERENCES batch_transfers,
  paused boolean NOT NULL DEFAULT false,
  cancelled boolean NOT NULL DEFAULT false,
  reason text,
  changed_at timestamptz NOT NULL DEFAULT now()
);

-- Apart from the controls, or slices would wait for each other; the last lock of every transaction.
CREATE TABLE batch_counters (
  batch_id uuid PRIMARY KEY REFERENCES batch_transfers,
  item_count int NOT NULL,
  queued int NOT NULL CHECK (queued >= 0),
  processing int NOT NULL DEFAULT 0 CHECK (processing >= 0),
  completed int NOT NULL DEFAULT 0 CHECK (completed >= 0),
  failed int NOT NULL DEFAULT 0 CHECK (failed >= 0),
  cancelled int NOT NULL DEFAULT 0 CHECK (cancelled >= 0),
  CONSTRAINT every_item_counted CHECK (queued + processing + completed + failed + cancelled = item_count)
) WITH (fillfactor = 10);

CREATE TABLE batch_transfer_items (
  batch_id uuid NOT NULL,
  item_no int NOT NULL CHECK (item_no BETWEEN 1 AND 1000000),
  ticket_id ticket_id NOT NULL,
  recipient text NOT NULL CHECK (octet_length(recipient) BETWEEN 1 AND 64),
  transfer_id uuid NOT NULL,
  status item_status NOT NULL DEFAULT 'QUEUED',
  tries smallint NOT NULL DEFAULT 0 CHECK (tries >= 0),
  next_try_at timestamptz,
  failed_run int,
  failure_code text,
  failure_reason text,
  ended_at timestamptz,
  PRIMARY KEY (batch_id, item_no),
  CONSTRAINT failed_has_code CHECK ((status = 'FAILED') = (failure_code IS NOT NULL)),
  CONSTRAINT failed_has_run CHECK ((status = 'FAILED') = (failed_run IS NOT NULL)),
  CONSTRAINT ended_has_time CHECK ((status IN ('QUEUED', 'PROCESSING')) = (ended_at IS NULL))
) WITH (fillfactor = 50);
COMMENT ON COLUMN batch_transfer_items.failed_run IS 'run of the batch it failed in: a later run may reopen it';
-- Items that wait for another try, or had one: few, found without reading the batch.
CREATE INDEX batch_transfer_items_retried ON batch_transfer_items (batch_id, item_no) WHERE next_try_at IS NOT NULL;
CREATE INDEX batch_transfer_items_failed ON batch_transfer_items (batch_id, item_no) WHERE status = 'FAILED';

-- Transfers ------------------------------------------------------------------------------------------------------

CREATE TABLE ticket_transfers (
  transfer_id uuid PRIMARY KEY,
  batch_id uuid,
  item_no int,
  kind transfer_kind NOT NULL DEFAULT 'direct',
  ticket_id ticket_id NOT NULL,
  from_user_id user_id NOT NULL,
  to_user_id user_id,
  token address,
  holder address,
  recipient address,
  settlement settlement NOT NULL,
  status transfer_status NOT NULL,
  live boolean NOT NULL GENERATED ALWAYS AS (status IN ('PENDING', 'ACCEPTED', 'SUBMITTED')) STORED,
  bindings int NOT NULL DEFAULT 0 CHECK (bindings >= 0),
  pack_limit int CHECK (pack_limit > 0),
  failure_code text,
  failure_reason text,
  expires_at timestamptz,
  created_at timestamptz NOT NULL DEFAULT now(),
  submitted_at timestamptz,
  ended_at timestamptz,
  CONSTRAINT item_of_batch CHECK ((batch_id IS NULL) = (item_no IS NULL)),
  CONSTRAINT failed_has_code CHECK ((status = 'FAILED') = (failure_code IS NOT NULL)),
  CONSTRAINT ended_has_time CHECK (live = (ended_at IS NULL)),
  CONSTRAINT accepted_is_complete CHECK (
    status NOT IN ('ACCEPTED', 'SUBMITTED', 'COMPLETED')
    OR (token IS NOT NULL AND holder IS NOT NULL AND recipient IS NOT NULL)),
  CONSTRAINT submitted_is_bound CHECK (status NOT IN ('SUBMITTED', 'COMPLETED') OR bindings > 0)
) WITH (fillfactor = 50);
COMMENT ON COLUMN ticket_transfers.bindings IS 'how often it was bound to a chain transaction; the number of its last binding';
COMMENT ON COLUMN ticket_transfers.pack_limit IS 'the most transfers its next chain transaction may carry';
-- The job lock: at most one live transfer per ticket. On `live`, not `status`, so that ACCEPTED -> SUBMITTED stays a HOT update.
CREATE UNIQUE INDEX one_live_transfer_per_ticket ON ticket_transfers (ticket_id) WHERE live;

-- Chain ----------------------------------------------------------------------------------------------------------

CREATE TABLE chain_lanes (
  chain_id bigint NOT NULL CHECK (chain_id > 0),
  signer address NOT NULL,
  next_nonce bigint NOT NULL CHECK (next_nonce >= 0),
  max_in_flight int NOT NULL CHECK (max_in_flight > 0),
  halted_reason text,
  PRIMARY KEY (chain_id, signer)
);

CREATE TABLE chain_transactions (
  transaction_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  chain_id bigint NOT NULL,
  signer address NOT NULL,
  nonce bigint NOT NULL CHECK (nonce >= 0),
  settlement settlement NOT NULL,
  gas_limit bigint NOT NULL CHECK (gas_limit BETWEEN 21000 AND 16777216),
  router_key hash32 UNIQUE,
  bound_at timestamptz NOT NULL DEFAULT now(),
  final_tx_hash hash32,
  final_block_number bigint,
  final_block_hash hash32,
  succeeded boolean,
  gas_used bigint,
  fee_wei numeric(78),
  settled_at timestamptz,
  UNIQUE (chain_id, signer, nonce),
  FOREIGN KEY (chain_id, signer) REFERENCES chain_lanes,
  CONSTRAINT batched_has_key CHECK ((settlement = 'batched') = (router_key IS NOT NULL)),
  CONSTRAINT settled_whole CHECK (
    num_nulls(final_tx_hash, final_block_number, final_block_hash, succeeded, gas_used, fee_wei, settled_at) IN (0, 7))
) WITH (fillfactor = 70);
CREATE INDEX chain_transactions_open ON chain_transactions (chain_id, signer, nonce) WHERE settled_at IS NULL;

CREATE TABLE chain_bindings (
  transaction_id bigint NOT NULL REFERENCES chain_transactions,
  position smallint NOT NULL CHECK (position >= 0),
  transfer_id uuid NOT NULL REFERENCES ticket_transfers,
  binding_no int NOT NULL CHECK (binding_no > 0),
  PRIMARY KEY (transfer_id, binding_no),
  UNIQUE (transaction_id, position)
);

CREATE TABLE chain_outcomes (
  transaction_id bigint NOT NULL,
  position smallint NOT NULL,
  outcome outcome NOT NULL,
  code text,
  reason text,
  PRIMARY KEY (transaction_id, position),
  FOREIGN KEY (transaction_id, position) REFERENCES chain_bindings (transaction_id, position),
  CONSTRAINT failed_has_code CHECK ((outcome = 'failed') = (code IS NOT NULL))
);

CREATE TABLE chain_attempts (
  tx_hash hash32 PRIMARY KEY,
  transaction_id bigint NOT NULL REFERENCES chain_transactions,
  attempt_no smallint NOT NULL CHECK (attempt_no > 0),
  kind attempt_kind NOT NULL,
  max_fee_wei bigint NOT NULL CHECK (max_fee_wei > 0),
  tip_wei bigint NOT NULL CHECK (tip_wei BETWEEN 0 AND max_fee_wei),
  raw bytea NOT NULL,
  signed_at timestamptz NOT NULL DEFAULT now(),
  first_sent_at timestamptz,
  last_sent_at timestamptz,
  send_class text,
  send_message text,
  UNIQUE (transaction_id, attempt_no),
  CONSTRAINT first_is_payload CHECK (attempt_no > 1 OR kind = 'payload'),
  CONSTRAINT sent_whole CHECK (num_nulls(first_sent_at, last_sent_at, send_class) IN (0, 3))
) WITH (fillfactor = 90);
-- Compressing thousands of signed transactions costs more than the bytes it saves.
ALTER TABLE chain_attempts ALTER COLUMN raw SET STORAGE EXTERNAL;
-- At most one attempt of a nonce that is neither sent nor refused.
CREATE UNIQUE INDEX one_unsent_attempt ON chain_attempts (transaction_id) WHERE send_class IS NULL;

CREATE FUNCTION forbid_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION '% is insert-only', TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
END $$;
CREATE TRIGGER insert_only BEFORE UPDATE OR DELETE ON chain_bindings FOR EACH ROW EXECUTE FUNCTION forbid_change();
CREATE TRIGGER insert_only BEFORE UPDATE OR DELETE ON chain_outcomes FOR EACH ROW EXECUTE FUNCTION forbid_change();
CREATE TRIGGER insert_only BEFORE DELETE ON chain_transactions FOR EACH ROW EXECUTE FUNCTION forbid_change();
CREATE TRIGGER bound_for_ever BEFORE UPDATE ON chain_transactions FOR EACH ROW
  WHEN ((OLD.transaction_id, OLD.chain_id, OLD.signer, OLD.nonce, OLD.settlement, OLD.gas_limit, OLD.router_key, OLD.bound_at)
        IS DISTINCT FROM
        (NEW.transaction_id, NEW.chain_id, NEW.signer, NEW.nonce, NEW.settlement, NEW.gas_limit, NEW.router_key, NEW.bound_at)
        OR OLD.settled_at IS NOT NULL)
  EXECUTE FUNCTION forbid_change();
CREATE TRIGGER insert_only BEFORE DELETE ON chain_attempts FOR EACH ROW EXECUTE FUNCTION forbid_change();
CREATE TRIGGER signed_for_ever BEFORE UPDATE ON chain_attempts FOR EACH ROW
  WHEN ((OLD.tx_hash, OLD.transaction_id, OLD.attempt_no, OLD.kind, OLD.max_fee_wei, OLD.tip_wei, OLD.raw)
        IS DISTINCT FROM (NEW.tx_hash, NEW.transaction_id, NEW.attempt_no, NEW.kind, NEW.max_fee_wei, NEW.tip_wei, NEW.raw))
  EXECUTE FUNCTION forbid_change();

CREATE FUNCTION forbid_early_binding() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF NOT EXISTS (SELECT FROM chain_bindings b JOIN chain_outcomes o USING (transaction_id, position)
                 WHERE b.transfer_id = NEW.transfer_id AND b.binding_no = NEW.binding_no - 1 AND o.outcome <> 'moved') THEN
    RAISE EXCEPTION 'transfer % may be bound again only after a final outcome other than moved', NEW.transfer_id
      USING ERRCODE = 'restrict_violation';
  END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER bound_again_after_outcome BEFORE INSERT ON chain_bindings FOR EACH ROW
  WHEN (NEW.binding_no > 1) EXECUTE FUNCTION forbid_early_binding();

CREATE TABLE failed_blockchain_transfers (
  transfer_id uuid PRIMARY KEY REFERENCES ticket_transfers,
  error_code text NOT NULL,
  error_message text NOT NULL,
  transaction_id bigint NOT NULL REFERENCES chain_transactions,
  failed_at timestamptz NOT NULL DEFAULT now(),
  failures int NOT NULL DEFAULT 1 CHECK (failures > 0),
  retry_count int NOT NULL DEFAULT 0 CHECK (retry_count >= 0),
  last_retry_at timestamptz
);
COMMENT ON COLUMN failed_blockchain_transfers.retry_count IS 'scheduled retries granted so far';

-- Events and webhooks --------------------------------------------------------------------------------------------

CREATE TABLE webhook_subscriptions (
  subscription_id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  url text NOT NULL CHECK (octet_length(url) BETWEEN 8 AND 2048),
  secret bytea NOT NULL CHECK (octet_length(secret) BETWEEN 24 AND 64),
  user_id user_id,
  event_types text[] NOT NULL CHECK (cardinality(event_types) > 0),
  max_attempts int NOT NULL DEFAULT 5 CHECK (max_attempts BETWEEN 1 AND 100),
  first_delay_s double precision NOT NULL DEFAULT 1 CHECK (first_delay_s BETWEEN 0.01 AND 86400),
  delay_coefficient double precision NOT NULL DEFAULT 2 CHECK (delay_coefficient BETWEEN 1 AND 100),
  max_delay_s double precision NOT NULL DEFAULT 3600 CHECK (max_delay_s BETWEEN first_delay_s AND 2592000),
  failing_since timestamptz,
  created_at timestamptz NOT NULL DEFAULT now(),
  disabled_at timestamptz,
  disabled_reason text,
  CONSTRAINT disabled_has_reason CHECK ((disabled_at IS NULL) = (disabled_reason IS NULL))
);
COMMENT ON COLUMN webhook_subscriptions.user_id IS 'only events of this sender; NULL: of everybody';
COMMENT ON COLUMN webhook_subscriptions.event_types IS 'names, or a family such as transfer.*, or *';
COMMENT ON COLUMN webhook_subscriptions.failing_since IS 'set while its last attempt failed';

-- Ids in the order of time: new ones go to the end of the index, three per transfer.
CREATE TABLE events (
  event_id uuid PRIMARY KEY DEFAULT uuidv7(),
  type event_type NOT NULL,
  transfer_id uuid,
  batch_id uuid,
  occurred_at timestamptz NOT NULL DEFAULT now(),
  body text,
  CONSTRAINT one_subject CHECK (num_nonnulls(transfer_id, batch_id) = 1)
);
COMMENT ON COLUMN events.body IS 'the exact text that is signed and sent; NULL while nobody is to get it';

CREATE TABLE webhook_deliveries (
  subscription_id uuid NOT NULL REFERENCES webhook_subscriptions,
  event_id uuid NOT NULL,
  status delivery_status NOT NULL DEFAULT 'PENDING',
  attempts int NOT NULL DEFAULT 0 CHECK (attempts >= 0),
  next_attempt_at timestamptz DEFAULT now(),
  last_error text,
  created_at timestamptz NOT NULL DEFAULT now(),
  ended_at timestamptz,
  PRIMARY KEY (subscription_id, event_id),
  CONSTRAINT pending_has_next CHECK ((status = 'PENDING') = (next_attempt_at IS NOT NULL)),
  CONSTRAINT ended_has_time CHECK ((status = 'PENDING') = (ended_at IS NULL))
) WITH (fillfactor = 70);
CREATE INDEX webhook_deliveries_due ON webhook_deliveries (subscription_id, next_attempt_at, event_id) WHERE status = 'PENDING';

CREATE TABLE webhook_attempts (
  subscription_id uuid NOT NULL,
  event_id uuid NOT NULL,
  attempt_no int NOT NULL CHECK (attempt_no > 0),
  started_at timestamptz NOT NULL,
  duration_ms int NOT NULL CHECK (duration_ms >= 0),
  http_status int,
  error_code text,
  response text,
  -- With the time: two copies of a drain may both make attempt 3, and each request is logged.
  PRIMARY KEY (subscription_id, event_id, attempt_no, started_at)
);

CREATE FUNCTION subscription_wants(event_types text[], kind event_type) RETURNS boolean LANGUAGE sql IMMUTABLE AS
$$ SELECT event_types && ARRAY['*', kind::text, split_part(kind::text, '.', 1) || '.*'] $$;

CREATE FUNCTION event_body(kind event_type, happened timestamptz, data json) RETURNS text LANGUAGE sql STABLE AS
$$ SELECT json_build_object('type', kind,
     'timestamp', to_char(happened AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), 'data', json_strip_nulls(data))::text $$;

-- One event per transfer, with its deliveries. Called in the transaction of the change, after it. Returns whom to wake.
CREATE FUNCTION emit_transfer_events(ids uuid[], event event_type) RETURNS SETOF uuid LANGUAGE plpgsql AS $$
BEGIN
  IF cardinality(ids) = 0 THEN RETURN; END IF;
  IF NOT EXISTS (SELECT FROM webhook_subscriptions s WHERE s.disabled_at IS NULL AND subscription_wants(s.event_types, event)) THEN
    INSERT INTO events (type, transfer_id) SELECT event, unnest(ids);
    RETURN;
  END IF;
  RETURN QUERY
  WITH changed AS (
    SELECT uuidv7() AS event_id, t.*,
           (SELECT b.transaction_id FROM chain_bindings b
            WHERE b.transfer_id = t.transfer_id AND b.binding_no = t.bindings) AS transaction_id
    FROM unnest(ids) AS i(id) JOIN ticket_transfers t ON t.transfer_id = i.id
  ), wanted AS (
    SELECT c.event_id, s.subscription_id FROM changed c JOIN webhook_subscriptions s
      ON s.disabled_at IS NULL AND subscription_wants(s.event_types, event) AND (s.user_id IS NULL OR s.user_id = c.from_user_id)
  ), written AS (
    INSERT INTO events (event_id, type, transfer_id, body)
    SELECT c.event_id, event, c.transfer_id,
      CASE WHEN c.event_id IN (SELECT w.event_id FROM wanted w) THEN event_body(event, now(), json_build_object(
        'transferId', c.transfer_id, 'batchId', c.batch_id, 'itemNo', c.item_no, 'ticketId', c.ticket_id,
        'fromUserId', c.from_user_id, 'toUserId', c.to_user_id, 'toAddress', '0x' || encode(c.recipient, 'hex'),
        'status', c.status, 'code', c.failure_code, 'reason', c.failure_reason,
        'transactionHash', '0x' || encode(x.final_tx_hash, 'hex'), 'blockNumber', x.final_block_number)) END
    FROM changed c LEFT JOIN chain_transactions x ON x.transaction_id = c.transaction_id
  ), delivered AS (
    INSERT INTO webhook_deliveries (subscription_id, event_id) SELECT w.subscription_id, w.event_id FROM wanted w
    RETURNING webhook_deliveries.subscription_id
  )
  SELECT DISTINCT d.subscription_id FROM delivered d;
END $$;

-- The event of a batch's end, with its deliveries. Returns whom to wake.
CREATE FUNCTION emit_batch_event(id uuid, event event_type) RETURNS SETOF uuid LANGUAGE sql AS $$
  WITH ended AS (
    SELECT uuidv7() AS event_id, b.from_user_id, event_body(event, now(), json_build_object(
      'batchId', b.batch_id, 'fromUserId', b.from_user_id, 'status', b.status, 'runNo', b.run_no, 'itemCount', b.item_count,
      'completed', c.completed, 'failed', c.failed, 'cancelled', c.cancelled, 'reason', b.reason)) AS body
    FROM batch_transfers b JOIN batch_counters c USING (batch_id) WHERE b.batch_id = id
  ), written AS (
    INSERT INTO events (event_id, type, batch_id, body) SELECT event_id, event, id, body FROM ended
  )
  INSERT INTO webhook_deliveries (subscription_id, event_id)
  SELECT s.subscription_id, e.event_id FROM ended e JOIN webhook_subscriptions s
    ON s.disabled_at IS NULL AND subscription_wants(s.event_types, event) AND (s.user_id IS NULL OR s.user_id = e.from_user_id)
  RETURNING subscription_id
$$;

-- Alerts ---------------------------------------------------------------------------------------------------------

CREATE TABLE alerts (
  alert_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  kind text NOT NULL,
  subject text NOT NULL,
  message text NOT NULL,
  seen int NOT NULL DEFAULT 1,
  opened_at timestamptz NOT NULL DEFAULT now(),
  last_seen_at timestamptz NOT NULL DEFAULT now(),
  closed_at timestamptz
);
CREATE UNIQUE INDEX one_open_alert ON alerts (kind, subject) WHERE closed_at IS NULL;
