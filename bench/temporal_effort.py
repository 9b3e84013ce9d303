"""What the workflows of a run cost the Temporal server: state transitions and history events, summed by type."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict

from temporalio.api.workflow.v1 import WorkflowExecutionInfo
from temporalio.client import Client, WorkflowExecution

from bench.figures import WorkflowEffort

_MOST_WAIT_S = 20.0
_POLL_S = 0.5


async def workflow_efforts(client: Client) -> tuple[WorkflowEffort, ...]:
    """All runs of all workflows, as soon as none runs any more (keepers and drains linger a few seconds)."""
    await _until_idle(client)
    runs, transitions, events = Counter[str](), defaultdict[str, int](int), defaultdict[str, int](int)
    async for execution in client.list_workflows():
        seen = await _described(client, execution)
        runs[execution.workflow_type] += 1
        transitions[execution.workflow_type] += seen.state_transition_count
        events[execution.workflow_type] += seen.history_length
    return tuple(
        WorkflowEffort(type=kind, runs=runs[kind], state_transitions=transitions[kind], history_events=events[kind])
        for kind in sorted(runs)
    )


async def _described(client: Client, execution: WorkflowExecution) -> WorkflowExecutionInfo:
    handle = client.get_workflow_handle(execution.id, run_id=execution.run_id)
    return (await handle.describe()).raw_description.workflow_execution_info


async def _until_idle(client: Client) -> None:
    """Waits until no workflow runs, or not longer than makes sense: visibility lags a little behind."""
    deadline = asyncio.get_running_loop().time() + _MOST_WAIT_S
    while asyncio.get_running_loop().time() < deadline:
        if (await client.count_workflows('ExecutionStatus = "Running"')).count == 0:
            return
        await asyncio.sleep(_POLL_S)
