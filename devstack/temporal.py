"""The Temporal dev server with its Web UI, with the settings that make short timers short and queues fair."""

from __future__ import annotations

import asyncio
from pathlib import Path

from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest
from temporalio.client import Client
from temporalio.service import RPCError

from devstack.ports import HOST
from devstack.processes import ProcessRecord, spawn
from devstack.state import NAMESPACE

# Eager activities stay off (the server's default): they bypass limits, priority and fairness.
DYNAMIC_CONFIG = {
    "matching.useNewMatcher": "true",
    "matching.enableFairness": "true",
    "history.timerProcessorMaxTimeShift": '"10ms"',
    "history.timerProcessorMaxPollRPS": "200",
    "history.transferProcessorMaxPollRPS": "200",
    "matching.rps": "50000",
    "frontend.rps": "50000",
    "frontend.namespaceRPS": "50000",
    "history.rps": "100000",
    "admin.matchingNamespaceTaskqueueToPartitionDispatchRate": "50000",
    "frontend.WorkerHeartbeatsEnabled": "true",
    "frontend.ListWorkersEnabled": "true",
    # A workflow task that a killed worker held is given to another after this.
    "history.defaultWorkflowTaskTimeout": '"5s"',
}
SEARCH_ATTRIBUTES = {"BatchStatus": "Keyword", "FromUserId": "Keyword", "ItemCount": "Int", "FailedCount": "Int"}
_CALL_TIMEOUT_S = 5.0


def start_temporal(program: Path, database: Path, port: int, ui_port: int, log: Path) -> ProcessRecord:
    """Starts the server on its database file."""
    command: list[str | Path] = [program, "server", "start-dev", "--ip", HOST, "--port", str(port)]
    command += ["--ui-ip", HOST, "--ui-port", str(ui_port), "--db-filename", database, "--log-level", "warn"]
    command += ["--sqlite-pragma", "journal_mode=wal", "--sqlite-pragma", "synchronous=1"]
    for name, value in DYNAMIC_CONFIG.items():
        command += ["--dynamic-config-value", f"{name}={value}"]
    for name, kind in SEARCH_ATTRIBUTES.items():
        command += ["--search-attribute", f"{name}={kind}"]
    return spawn(command, log)


def is_temporal_ready(address: str) -> bool:
    """Whether the frontend serves our namespace."""
    return asyncio.run(_polling_pids(address, "transfers")) is not None


def is_worker_polling(address: str, pid: int, task_queues: tuple[str, ...]) -> bool:
    """Whether that process polls all the queues (an SDK worker's identity is pid@host)."""
    return asyncio.run(_polls_all(address, pid, task_queues))


async def _polls_all(address: str, pid: int, task_queues: tuple[str, ...]) -> bool:
    pollers = [await _polling_pids(address, queue) for queue in task_queues]
    return all(pids is not None and pid in pids for pids in pollers)


async def _polling_pids(address: str, task_queue: str) -> set[int] | None:
    """The pids of the workers that polled the queue lately; None when the server doesn't answer."""
    try:
        async with asyncio.timeout(_CALL_TIMEOUT_S):
            client = await Client.connect(address, namespace=NAMESPACE)
            request = DescribeTaskQueueRequest(
                namespace=NAMESPACE,
                task_queue=TaskQueue(name=task_queue),
                task_queue_type=TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY,
            )
            reply = await client.workflow_service.describe_task_queue(request)
    except (RuntimeError, RPCError, TimeoutError):  # RuntimeError: the connection was refused
        return None
    heads = [poller.identity.partition("@")[0] for poller in reply.pollers]
    return {int(head) for head in heads if head.isdigit()}
