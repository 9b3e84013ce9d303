"""An in-memory `ChainLedger` for tests of the chain room: remembers attempts as the schema would."""

from __future__ import annotations

from collections.abc import Sequence

from workflows.interface.chain import Attempt, BoundTransaction, SendClass, SendResult, SentTransaction


class FakeChainLedger:
    """Keeps the attempts of each transaction; the first one stored is the one that stands."""

    def __init__(self) -> None:
        self.attempts: dict[int, list[Attempt]] = {}
        self.sends: list[SendResult] = []

    async def store_first_attempts(self, attempts: Sequence[Attempt]) -> list[Attempt]:
        """Stores what has no attempt yet; answers what stands."""
        return [self.attempts.setdefault(a.transaction_id, [a])[0] for a in attempts]

    async def store_next_attempts(self, attempts: Sequence[Attempt]) -> None:
        """Adds attempts, each only once."""
        for attempt in attempts:
            stored = self.attempts[attempt.transaction_id]
            if attempt.tx_hash not in {a.tx_hash for a in stored}:
                stored.append(attempt)

    async def record_sends(self, results: Sequence[SendResult]) -> None:
        """Notes the replies at their attempts."""
        self.sends += results
        for result in results:
            stored = self.attempts[result.transaction_id]
            stored[:] = [a._replace(send_class=result.send_class) if a.tx_hash == result.tx_hash else a for a in stored]

    def classes(self, transaction_id: int) -> list[SendClass | None]:
        """The last reply to each attempt of a transaction."""
        return [attempt.send_class for attempt in self.attempts[transaction_id]]

    def reload(self, transaction: BoundTransaction) -> BoundTransaction:
        """The transaction with the attempts stored so far, as another process would read it."""
        return transaction._replace(attempts=tuple(self.attempts.get(transaction.transaction_id, ())))

    def sent(self, transaction: BoundTransaction) -> SentTransaction:
        """What confirmation needs of a transaction."""
        return SentTransaction(
            transaction.transaction_id,
            transaction.lane,
            transaction.nonce,
            transaction.settlement,
            transaction.key,
            tuple(a.tx_hash for a in self.attempts.get(transaction.transaction_id, ())),
        )
