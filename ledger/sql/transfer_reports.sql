-- name: transfer_report
-- One transfer for people, with the tries of its item where a batch works on it.
SELECT t.transfer_id, t.kind::text, t.status::text, t.ticket_id, t.from_user_id, t.to_user_id, t.recipient, t.batch_id, t.item_no,
  t.settlement::text, t.failure_code, t.failure_reason, t.expires_at, t.created_at, t.accepted_at, t.submitted_at, t.ended_at,
  coalesce(i.tries, t.tries) AS tries, coalesce(i.next_try_at, t.next_try_at) AS next_try_at, x.final_tx_hash
FROM ticket_transfers t
LEFT JOIN batch_transfer_items i ON t.kind = 'direct' AND i.batch_id = t.batch_id AND i.item_no = t.item_no
LEFT JOIN chain_bindings b ON b.transfer_id = t.transfer_id AND b.binding_no = t.bindings
LEFT JOIN chain_transactions x ON x.transaction_id = b.transaction_id
WHERE t.transfer_id = $1;

-- name: transfer_reports
-- Single transfers and gifts before one of them, newest first: of one status, kind, sender or recipient if given.
-- (Planned with its values while it's rarely run: an absent filter vanishes, and a sender or recipient picks its index.)
SELECT t.transfer_id, t.kind::text, t.status::text, t.ticket_id, t.from_user_id, t.to_user_id, t.recipient, t.batch_id, t.item_no,
  t.settlement::text, t.failure_code, t.failure_reason, t.expires_at, t.created_at, t.accepted_at, t.submitted_at, t.ended_at,
  t.tries, t.next_try_at, x.final_tx_hash
FROM ticket_transfers t
LEFT JOIN chain_bindings b ON b.transfer_id = t.transfer_id AND b.binding_no = t.bindings
LEFT JOIN chain_transactions x ON x.transaction_id = b.transaction_id
WHERE (t.batch_id IS NULL OR t.kind = 'gift')
  AND ($1::text IS NULL OR t.status = $1::text::transfer_status)
  AND ($2::text IS NULL OR t.kind = $2::text::transfer_kind)
  AND ($3::text IS NULL OR t.from_user_id = $3::text)
  AND ($4::text IS NULL OR t.to_user_id = $4::text)
  AND ($5::timestamptz IS NULL OR (t.created_at, t.transfer_id) < ($5::timestamptz, $6::uuid))
ORDER BY t.created_at DESC, t.transfer_id DESC LIMIT $7;

-- name: transfer_bindings
-- The chain transactions that a transfer was bound to, with their attempts and what became of it in each.
SELECT b.binding_no, '0x' || encode(x.signer, 'hex') AS signer, x.nonce, x.bound_at, x.settled_at, x.final_tx_hash,
  x.final_block_number, x.gas_used, x.fee_wei::text, o.outcome::text, o.code, o.reason, a.attempts, a.last_tx_hash, a.send_class
FROM chain_bindings b JOIN chain_transactions x USING (transaction_id)
LEFT JOIN chain_outcomes o USING (transaction_id, position)
LEFT JOIN LATERAL (
  SELECT count(*)::int AS attempts, (array_agg(c.tx_hash ORDER BY c.attempt_no DESC))[1] AS last_tx_hash,
    (array_agg(c.send_class ORDER BY c.attempt_no DESC))[1] AS send_class
  FROM chain_attempts c WHERE c.transaction_id = b.transaction_id
) a ON true
WHERE b.transfer_id = $1 ORDER BY b.binding_no;

-- name: transfer_events
-- A transfer's events, oldest first: looked for at the times its rows name, since events are filed by time alone.
WITH moments AS MATERIALIZED (
  SELECT DISTINCT uuidv7(m.at - clock_timestamp() - interval '5 ms') AS earliest,
    uuidv7(m.at - clock_timestamp() + interval '20 s') AS latest
  FROM (
    SELECT unnest(ARRAY[t.created_at, t.accepted_at, t.submitted_at, t.ended_at]) FROM ticket_transfers t WHERE t.transfer_id = $1
    UNION
    SELECT unnest(ARRAY[x.bound_at, x.settled_at])
    FROM chain_bindings b JOIN chain_transactions x USING (transaction_id) WHERE b.transfer_id = $1
  ) m (at) WHERE m.at IS NOT NULL
)
SELECT DISTINCT e.event_id, e.type::text, e.occurred_at FROM moments m
-- OFFSET: moment by moment, whatever the planner thinks of the table's size.
CROSS JOIN LATERAL (SELECT * FROM events WHERE event_id BETWEEN m.earliest AND m.latest AND transfer_id = $1 OFFSET 0) e
ORDER BY e.event_id;
