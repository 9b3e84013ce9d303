"""A workflow whose step ends as its input says, again and again if need be."""

from __future__ import annotations

from datetime import timedelta

from temporalio import workflow
from temporalio.common import RetryPolicy


@workflow.defn(name="Job")
class Job:
    """Does one step."""

    @workflow.run
    async def run(self, endings: list[str]) -> None:
        """Each try of the step takes the next ending."""
        await workflow.execute_activity(
            "job_step",
            endings,
            start_to_close_timeout=timedelta(seconds=20),
            retry_policy=RetryPolicy(initial_interval=timedelta(milliseconds=10), maximum_attempts=len(endings)),
        )
