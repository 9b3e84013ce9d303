-- name: differences_from_chain
-- Proves that no ticket moved twice and that Postgres equals the chain: every `Transfer` log of one token contract since
-- its deployment, mints left out, in the order of the chain, goes in; no row comes out where all agree.
WITH told AS (
  SELECT m.* FROM unnest($2::text[], $3::bytea[], $4::bytea[]) WITH ORDINALITY AS m (ticket_id, sender, recipient, place)
  -- A recipient contract may pass its ticket on: such a move is nobody's transfer here.
  WHERE m.sender IN (SELECT w.address FROM wallets w)
), logged AS (
  SELECT ticket_id, sender, recipient, count(*) AS moves FROM told GROUP BY ticket_id, sender, recipient
), booked AS (
  SELECT t.ticket_id, t.holder AS sender, t.recipient, count(*) AS moves
  FROM chain_outcomes o JOIN chain_bindings USING (transaction_id, position) JOIN ticket_transfers t USING (transfer_id)
  WHERE o.outcome = 'moved' AND t.token = $1 GROUP BY t.ticket_id, t.holder, t.recipient
), moved AS (
  SELECT transfer_id, count(*) AS moves FROM chain_outcomes JOIN chain_bindings USING (transaction_id, position)
  WHERE outcome = 'moved' GROUP BY transfer_id
), last AS (
  SELECT DISTINCT ON (ticket_id) ticket_id, recipient FROM told ORDER BY ticket_id, place DESC
)
SELECT ticket_id, format('%s moves to 0x%s on the chain, %s in Postgres', coalesce(l.moves, 0), encode(recipient, 'hex'),
                         coalesce(b.moves, 0)) AS difference
FROM logged l FULL JOIN booked b USING (ticket_id, sender, recipient) WHERE l.moves IS DISTINCT FROM b.moves
UNION ALL
SELECT t.ticket_id, format('transfer %s is %s with %s final moves', t.transfer_id, t.status, coalesce(m.moves, 0))
FROM ticket_transfers t LEFT JOIN moved m USING (transfer_id)
WHERE coalesce(m.moves, 0) <> CASE t.status WHEN 'COMPLETED' THEN 1 ELSE 0 END
UNION ALL
SELECT k.ticket_id, format('0x%s holds it on the chain, 0x%s in Postgres', encode(l.recipient, 'hex'), encode(k.holder, 'hex'))
FROM last l JOIN tickets k USING (ticket_id) WHERE k.holder <> l.recipient AND k.token = $1
ORDER BY 1, 2;

-- name: tickets_come_back
-- Tickets that left their holder by moves that Postgres doesn't know, and are with that holder again: after a restore,
-- nothing on the chain would refuse to move them a second time. The same log goes in, with every move that there is.
WITH told AS (
  SELECT m.* FROM unnest($2::text[], $3::bytea[], $4::bytea[]) WITH ORDINALITY AS m (ticket_id, sender, recipient, place)
), left_holder AS (
  SELECT ticket_id, sender, count(*) AS moves FROM told GROUP BY ticket_id, sender
), booked AS (
  SELECT t.ticket_id, t.holder AS sender, count(*) AS moves
  FROM chain_outcomes o JOIN chain_bindings USING (transaction_id, position) JOIN ticket_transfers t USING (transfer_id)
  WHERE o.outcome = 'moved' AND t.token = $1 GROUP BY t.ticket_id, t.holder
), last AS (
  SELECT DISTINCT ON (ticket_id) ticket_id, recipient FROM told ORDER BY ticket_id, place DESC
)
SELECT k.ticket_id FROM tickets k JOIN last l USING (ticket_id)
JOIN left_holder m ON m.ticket_id = k.ticket_id AND m.sender = k.holder
LEFT JOIN booked b ON b.ticket_id = k.ticket_id AND b.sender = k.holder
WHERE k.token = $1 AND l.recipient = k.holder AND m.moves > coalesce(b.moves, 0) ORDER BY 1;
