"""A hundred thousand gifts that expire in one run of the job."""

from __future__ import annotations

import asyncio
import time
from uuid import uuid4

from bench.figures import Figures
from bench.stage import SENDER
from bench.system import Progress, connect
from devstack.errors import StackError
from devstack.seed import ensure_wallets, open_pool
from devstack.stack import Stack
from ledger.pool import Pool
from workflows.interface.names import Queue, WorkflowType

GIFTS = 100_000
_LOOK_EVERY_S = 0.02


class ExpiryRun(Figures):
    """How fast they expired, and how long the longest transaction of the worker was open meanwhile."""

    gifts: int
    duration_s: float
    longest_transaction_s: float

    @property
    def per_s(self) -> float:
        """Gifts per second."""
        return self.gifts / self.duration_s

    def lines(self) -> list[str]:
        """For people."""
        return [
            f"{self.gifts:,} gifts expired in {self.duration_s:.1f} s: {self.per_s:,.0f} rows/s",
            f"longest transaction, which holds its locks so long: {self.longest_transaction_s:.2f} s (at most 1 s)",
        ]


async def measure_expiry(stack: Stack, progress: Progress) -> ExpiryRun:
    """Writes gifts whose time is over, and runs the job once."""
    client = await connect(stack.state.temporal_address)
    async with open_pool(stack.state) as pool:
        await _write_gifts(pool)
        started = time.monotonic()
        job = asyncio.create_task(
            client.execute_workflow(WorkflowType.EXPIRE_TRANSFERS, id=f"bench/{uuid4()}", task_queue=Queue.MAINTENANCE)
        )
        longest_s = await _watch(pool, job)
        await job
        took_s = time.monotonic() - started
        left = await pool.fetchval("SELECT count(*) FROM ticket_transfers WHERE status <> 'EXPIRED'")
        if left:
            raise StackError(f"{left} gifts didn't expire")
    progress(GIFTS)
    return ExpiryRun(gifts=GIFTS, duration_s=took_s, longest_transaction_s=longest_s)


async def _watch(pool: Pool, job: asyncio.Task[object]) -> float:
    """The age of the worker's oldest transaction that writes, looked at until the job ends."""
    longest_s = 0.0
    while not job.done():
        age_s = await pool.fetchval(
            "SELECT coalesce(max(extract(epoch FROM clock_timestamp() - xact_start)), 0)::float8 FROM pg_stat_activity"
            " WHERE application_name = 'transfers-worker' AND backend_xid IS NOT NULL"
        )
        longest_s = max(longest_s, age_s)
        await asyncio.sleep(_LOOK_EVERY_S)
    return longest_s


async def _write_gifts(pool: Pool) -> None:
    await ensure_wallets(pool, [SENDER, "bench-fan"])
    token, holder, to = b"\x01" * 20, b"\x02" * 20, b"\x03" * 20
    await pool.execute(
        "INSERT INTO ticket_transfers (transfer_id, kind, ticket_id, from_user_id, to_user_id, token, holder,"
        " recipient, settlement, status, expires_at)"
        " SELECT gen_random_uuid(), 'gift', n::text, $2, 'bench-fan', $3, $4, $5, 'batched', 'PENDING',"
        " now() - interval '1 minute' FROM generate_series(1, $1::int) n",
        GIFTS,
        SENDER,
        token,
        holder,
        to,
    )
    await pool.execute("ANALYZE ticket_transfers")
