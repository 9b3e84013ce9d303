"""Batches of any size from a stream: the rows go to Postgres, then the workflow is started with the id alone."""

from __future__ import annotations

from uuid import UUID

from ledger.staging import BatchHeader, BatchWriter, ItemStream, StoredBatch
from starter.client import TransferClient
from starter.errors import UnavailableError
from starter.requests import BatchStarted
from workflows.interface.codes import ErrorCode
from workflows.interface.errors import RequestError


class StagedStarter:
    """Stages a batch and starts it. The same request again starts what was staged and never started."""

    def __init__(self, writer: BatchWriter, client: TransferClient) -> None:
        self._writer = writer
        self._client = client

    async def start(self, header: BatchHeader, items: ItemStream) -> BatchStarted:
        """Returns once the workflow is started; no item has been processed by then.

        Raises:
            RequestError: INVALID_INPUT, BATCH_CONTENT_DIFFERS; nothing of this request is stored then.
            UnavailableError: Temporal doesn't answer, or not as it should; the same call again helps.
        """
        # Asked before the rows are committed: a batch that came inline and waits for a worker isn't in Postgres yet.
        stored = await self._writer.write(header, items, before_commit=self._free_for)
        if not stored.status.ended:
            await self._start(stored)
        return BatchStarted(batch_id=stored.batch_id, status=stored.status, item_count=stored.item_count)

    async def _free_for(self, batch_id: UUID, request_sha256: bytes) -> None:
        await self._client.holds(batch_id, request_sha256.hex())

    async def _start(self, stored: StoredBatch) -> None:
        try:
            stands = False
            while not stands:
                # Not standing means that what held the id has failed in between: it's free now.
                stands = await self._started_or_held(stored)
        except UnavailableError as error:
            raise _not_started(stored, str(error)) from error
        except RequestError as error:
            if error.code is not ErrorCode.BATCH_CONTENT_DIFFERS:
                raise
            # It came inline after the rows were written. What stands in Postgres counts, so it's the other that fails.
            raise _not_started(stored, "another request under this batch id waits to be refused") from error

    async def _started_or_held(self, stored: StoredBatch) -> bool:
        sha256 = stored.request_sha256.hex()
        started = await self._client.start_staged(
            stored.batch_id, from_user_id=stored.from_user_id, item_count=stored.item_count, sha256=sha256
        )
        return started or await self._client.holds(stored.batch_id, sha256)


def _not_started(stored: StoredBatch, why: str) -> UnavailableError:
    return UnavailableError(
        f"{why}. Batch {stored.batch_id} is written and not started: repeat the request under this batch id"
    )
