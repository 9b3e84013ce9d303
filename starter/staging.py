"""Batches of any size from a stream: the rows go to Postgres, then the workflow is started with the id alone."""

from __future__ import annotations

from ledger.staging import BatchHeader, BatchWriter, ItemStream, StoredBatch
from starter.client import TransferClient
from starter.errors import UnavailableError
from starter.requests import BatchStarted


class StagedStarter:
    """Stages a batch and starts it. The same request again starts what was staged and never started."""

    def __init__(self, writer: BatchWriter, client: TransferClient) -> None:
        self._writer = writer
        self._client = client

    async def start(self, header: BatchHeader, items: ItemStream) -> BatchStarted:
        """Returns once the workflow is started; no item has been processed by then.

        Raises:
            RequestError: INVALID_INPUT, BATCH_CONTENT_DIFFERS.
            UnavailableError: Temporal doesn't answer; the batch stands staged, and the same call again starts it.
        """
        stored = await self._writer.write(header, items)
        if not stored.status.ended:
            await self._start(stored)
        return BatchStarted(batch_id=stored.batch_id, status=stored.status, item_count=stored.item_count)

    async def _start(self, stored: StoredBatch) -> None:
        try:
            await self._client.start_staged(
                stored.batch_id,
                from_user_id=stored.from_user_id,
                item_count=stored.item_count,
                sha256=stored.request_sha256.hex(),
            )
        except UnavailableError as error:
            raise UnavailableError(
                f"{error}. Batch {stored.batch_id} is written and not started: repeat the request under this batch id"
            ) from error
