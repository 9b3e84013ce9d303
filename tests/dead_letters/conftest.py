"""Dead letters in a fresh database, and workers with the real steps and a `Transfer` that only notes that it ran."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from typing import Any, NamedTuple
from uuid import UUID, uuid4

import pytest
from temporalio import activity, workflow
from temporalio.client import Client, WorkflowHandle
from temporalio.worker import Worker

from activities.dead_letters import DeadLetterSteps
from ledger.dead_letters import DeadLetters
from ledger.pool import Pool
from ledger.runs import BatchRuns
from ledger.webhooks import WebhookLedger
from starter.replays import ReplayClient, ReplayStanding
from tests.books import Books
from tests.servers import Temporal
from tests.webhooks.conftest import Subscriptions
from worker_steps import steps_of
from workflows.dead_letters import ReplayDeadLetters
from workflows.interface.dead_letters import LetterFilter, ReplayInput, ReplayProgress, ReplayResult
from workflows.interface.names import Queue, replay_workflow_id
from workflows.sandbox import sandboxed

NAMESPACE = "dead-letters"


@workflow.defn(name="Transfer", sandboxed=False)
class NotedTransfer:
    """Notes that it ran; held back, it waits for a signal before it ends."""

    def __init__(self) -> None:
        self._released = False

    @workflow.run
    async def run(self, request: dict[str, Any]) -> None:
        """Runs once."""
        held = await workflow.execute_activity(
            "note_start", request, result_type=bool, start_to_close_timeout=timedelta(seconds=10)
        )
        if held:
            await workflow.wait_condition(lambda: self._released)

    @workflow.signal
    def release(self) -> None:
        """It may end."""
        self._released = True


class Notes:
    """Which transfers were started, and with what."""

    def __init__(self) -> None:
        self.requests: list[dict[str, Any]] = []
        self.held: set[UUID] = set()
        self._noted = asyncio.Event()

    @property
    def starts(self) -> Counter[UUID]:
        """How often each transfer ran."""
        return Counter(UUID(request["transferId"]) for request in self.requests)

    async def until(self, count: int) -> Counter[UUID]:
        """The starts, once there are so many."""
        async with asyncio.timeout(30):
            while len(self.requests) < count:
                self._noted.clear()
                await self._noted.wait()
        return self.starts

    @activity.defn
    async def note_start(self, request: dict[str, Any]) -> bool:
        self.requests.append(request)
        self._noted.set()
        return UUID(request["transferId"]) in self.held


class Office(NamedTuple):
    """Letters, the client of a namespace, and the notes of the transfers that ran."""

    pool: Pool
    client: Client
    ledger: DeadLetters
    notes: Notes

    async def transfers(self, count: int, *, code: str = "REVERTED") -> list[UUID]:
        """Open letters of transfers that failed on the chain; the transfers' ids in the order of the letters."""
        ids = [uuid4() for _ in range(count)]
        await self.pool.execute(
            "INSERT INTO ticket_transfers"
            " (transfer_id, ticket_id, from_user_id, settlement, status, failure_code, ended_at)"
            " SELECT id, '7', 'alice', 'batched', 'FAILED', $2, now() FROM unnest($1::uuid[]) AS t (id)",
            ids,
            code,
        )
        await self.pool.execute(
            "INSERT INTO dead_letters (kind, transfer_id, code, reason, attempts, first_failed_at, payload_ref)"
            " SELECT 'transfer', id, $2, 'why', 3, now(), 'ticket_transfers/' || id FROM unnest($1::uuid[]) AS t (id)",
            ids,
            code,
        )
        return ids

    async def statuses(self) -> Counter[str]:
        """How many letters there are of each status."""
        return Counter(row[0] for row in await self.pool.fetch("SELECT status::text FROM dead_letters"))

    async def actions(self) -> list[Any]:
        """The whole record of actions."""
        return await self.pool.fetch("SELECT * FROM dead_letter_actions ORDER BY action_id")

    def request(self, **fields: Any) -> ReplayInput:
        """A replay of every open letter, unless told otherwise."""
        return ReplayInput(**{"replay_id": uuid4(), "filter": LetterFilter(), "by": "olga", **fields})

    async def start(self, request: ReplayInput) -> WorkflowHandle[Any, Any]:
        """Starts it as the command does."""
        assert await ReplayClient(self.client).start(request, 1) is ReplayStanding.STARTED
        return self.client.get_workflow_handle(replay_workflow_id(request.replay_id))

    async def replay(self, request: ReplayInput) -> ReplayResult:
        """Starts it and waits for its end."""
        await self.start(request)
        async with asyncio.timeout(60):
            return await ReplayClient(self.client).result(request)

    async def until(self, handle: WorkflowHandle[Any, Any], wanted: Callable[[ReplayProgress], bool]) -> None:
        """Asks until the replay says so."""
        async with asyncio.timeout(30):
            while not wanted(ReplayProgress.model_validate(await handle.query("progress"))):
                await asyncio.sleep(0.05)

    @asynccontextmanager
    async def working(self, ledger: DeadLetters | None = None, client: Client | None = None) -> AsyncIterator[None]:
        """Workers for the block; a second set of them at once needs a client of its own."""
        client = client or self.client
        steps = DeadLetterSteps(ledger or self.ledger, client, BatchRuns(self.pool).raise_alert)
        sets: dict[Queue, tuple[list[type], list[Any]]] = {
            Queue.MAINTENANCE: ([ReplayDeadLetters], steps_of(steps)),
            Queue.TRANSFERS: ([NotedTransfer], [self.notes.note_start]),
        }
        async with AsyncExitStack() as stack:
            for queue, (workflows, activities) in sets.items():
                worker = Worker(
                    client,
                    task_queue=queue,
                    workflows=workflows,
                    activities=activities,
                    workflow_runner=sandboxed(),
                    build_id="tests",
                )
                await stack.enter_async_context(worker)
            yield


@pytest.fixture(scope="package")
async def letters_client(temporal: Temporal) -> Client:
    """A client of a namespace of these tests' own."""
    return await temporal.add_namespace(NAMESPACE)


@pytest.fixture
async def other_client(temporal: Temporal, letters_client: Client) -> Client:
    """Another process's client of the same namespace."""
    assert letters_client.namespace == NAMESPACE
    return await temporal.client(NAMESPACE)


@pytest.fixture
def office(pool: Pool, letters_client: Client) -> Office:
    return Office(pool, letters_client, DeadLetters(pool), Notes())


@pytest.fixture
def books(pool: Pool) -> Books:
    return Books(pool)


@pytest.fixture
def webhooks(pool: Pool) -> WebhookLedger:
    return WebhookLedger(pool)


@pytest.fixture
def subscriptions(pool: Pool, webhooks: WebhookLedger) -> Subscriptions:
    return Subscriptions(pool, webhooks)
