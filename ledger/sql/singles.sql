-- name: insert_single
-- A new live transfer of no batch; none comes back where the id is taken or the ticket is locked.
INSERT INTO ticket_transfers (transfer_id, kind, ticket_id, from_user_id, to_user_id, token, holder, recipient, settlement,
  status, expires_at, request_sha256)
VALUES ($1, $2::text::transfer_kind, $3, $4::text, $5, $6::bytea, $7::bytea, $8::bytea, $9::text::settlement,
  $10::text::transfer_status, $11, $12::bytea)
ON CONFLICT DO NOTHING RETURNING transfer_id;

-- name: insert_failed_single
-- A transfer of no batch that failed before it was live.
INSERT INTO ticket_transfers (transfer_id, kind, ticket_id, from_user_id, to_user_id, recipient, settlement, status, expires_at,
  request_sha256, failure_code, failure_reason, ended_at)
VALUES ($1, $2::text::transfer_kind, $3, $4::text, $5, $6::bytea, $7::text::settlement, 'FAILED', $8, $9::bytea, $10, $11, now())
ON CONFLICT DO NOTHING RETURNING transfer_id;

-- name: transfer_state
-- A transfer as it stands, with the chain transaction that decided, and how long it has to wait for its next try.
SELECT t.*,
  extract(epoch FROM greatest(coalesce(i.next_try_at, t.next_try_at) - clock_timestamp(), interval '0'))::float8 AS next_try_in_s,
  x.final_tx_hash
FROM ticket_transfers t
LEFT JOIN batch_transfer_items i ON t.kind = 'direct' AND i.batch_id = t.batch_id AND i.item_no = t.item_no
LEFT JOIN chain_bindings b ON b.transfer_id = t.transfer_id AND b.binding_no = t.bindings
LEFT JOIN chain_transactions x ON x.transaction_id = b.transaction_id
WHERE t.transfer_id = $1;

-- name: lock_transfer
-- A transfer, held alone until commit; how long a gift may still be accepted is the database's word.
SELECT t.*, t.expires_at <= now() AS expired FROM ticket_transfers t WHERE t.transfer_id = $1 FOR NO KEY UPDATE;

-- name: come_back
-- Somebody works on the transfer again, though a person had ended its workflow.
UPDATE ticket_transfers SET left_at = NULL WHERE transfer_id = $1;

-- name: accept_gift
-- The recipient accepts a gift that waits.
UPDATE ticket_transfers SET status = 'ACCEPTED', accepted_at = now(), decision = $2 WHERE transfer_id = $1 AND status = 'PENDING';

-- name: end_gift
-- A gift that waits is declined by its recipient or cancelled by its sender; the ticket is free.
UPDATE ticket_transfers SET status = $2::text::transfer_status, failure_reason = $3, decision = $4, ended_at = now()
WHERE transfer_id = $1 AND status = 'PENDING';

-- name: fail_unbound_single
-- A transfer that no batch works on fails before it's bound.
UPDATE ticket_transfers SET status = 'FAILED', failure_code = $2, failure_reason = $3, ended_at = now()
WHERE transfer_id = $1 AND status = 'ACCEPTED' RETURNING transfer_id;

-- name: failed_transfer
-- A failed transfer that is to be reopened, with its item's line where a batch made it; the recipient as it was asked for.
SELECT t.transfer_id, t.kind, t.ticket_id, t.from_user_id, t.failure_code, t.batch_id, t.item_no, t.accepted_at,
  coalesce(i.recipient, t.to_user_id::text, '0x' || encode(t.recipient, 'hex')) AS recipient
FROM ticket_transfers t LEFT JOIN batch_transfer_items i ON i.batch_id = t.batch_id AND i.item_no = t.item_no
WHERE t.transfer_id = $1 AND t.status = 'FAILED';

-- name: hold_ended_batch
-- A batch that has ended: no run of it begins before the commit. A batch that runs tries its items itself.
SELECT batch_id FROM batch_transfers WHERE batch_id = $1 AND ended_at IS NOT NULL FOR SHARE;

-- name: reopen_transfer
-- A failed transfer is live again, where it may be: never bound or finally not moved, and the ticket is free. A gift that
-- was never accepted waits again.
UPDATE ticket_transfers t SET failure_code = NULL, failure_reason = NULL, ended_at = NULL,
  status = CASE WHEN t.kind = 'gift' AND t.accepted_at IS NULL THEN 'PENDING'::transfer_status ELSE 'ACCEPTED' END,
  expires_at = CASE WHEN t.kind = 'direct' THEN NULL WHEN t.expires_at > now() THEN t.expires_at ELSE now() + $7::interval END,
  to_user_id = $2, token = $3::bytea, holder = $4::bytea, recipient = $5::bytea, tries = $6, next_try_at = NULL
WHERE t.transfer_id = $1 AND t.status = 'FAILED'
  AND NOT EXISTS (SELECT FROM ticket_transfers o WHERE o.ticket_id = t.ticket_id AND o.live)
  AND (t.bindings = 0 OR EXISTS (SELECT FROM chain_bindings b JOIN chain_outcomes o USING (transaction_id, position)
                                 WHERE b.transfer_id = t.transfer_id AND b.binding_no = t.bindings AND o.outcome <> 'moved'))
RETURNING t.status::text;

-- name: reopen_item
-- The failed item of a direct transfer is in work again, with so many tries used up.
UPDATE batch_transfer_items SET status = 'PROCESSING', tries = $3, next_try_at = now(), failed_run = NULL, failure_code = NULL,
  failure_reason = NULL, ended_at = NULL
WHERE batch_id = $1 AND item_no = $2 AND status = 'FAILED' RETURNING item_no;

-- name: complete_gift_item
-- The failed item of a gift: an item of gifts completes when its gift waits.
UPDATE batch_transfer_items SET status = 'COMPLETED', next_try_at = NULL, failed_run = NULL, failure_code = NULL,
  failure_reason = NULL, ended_at = now()
WHERE batch_id = $1 AND item_no = $2 AND status = 'FAILED' RETURNING item_no;

-- name: count_retry
-- A scheduled retry of a transfer that the chain refused.
UPDATE failed_blockchain_transfers SET retry_count = retry_count + 1, last_retry_at = now() WHERE transfer_id = $1;

-- name: mend_batch
-- A batch whose last failed item was mended by a later retry is completed.
UPDATE batch_transfers b SET status = 'COMPLETED' FROM batch_counters c
WHERE b.batch_id = $1 AND c.batch_id = b.batch_id AND b.status = 'COMPLETED_WITH_FAILURES' AND c.completed = c.item_count
RETURNING b.batch_id;

-- name: due_subscriptions_of_transfer
-- Subscriptions that may want a transfer's events and have deliveries due.
SELECT s.subscription_id FROM webhook_subscriptions s JOIN ticket_transfers t
  ON t.transfer_id = $1 AND (s.user_id IS NULL OR s.user_id = t.from_user_id)
WHERE s.disabled_at IS NULL AND EXISTS (SELECT FROM webhook_deliveries d WHERE d.subscription_id = s.subscription_id
  AND d.status = 'PENDING' AND d.next_attempt_at <= now());
