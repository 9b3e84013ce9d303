"""Carries out the measurements of a plan, one after the other, each on fresh servers."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable, Mapping
from typing import TypeAlias

from bench.backlog import measure_backlog
from bench.ceiling import CeilingJob
from bench.figures import BacklogRun, CeilingRun, SystemRun
from bench.plan import Case, Measurement, Plan
from bench.scenarios.catalogue import MEASURES, Scenario, ScenarioRun
from bench.stage import fresh_chain, fresh_stack
from bench.system import Progress, measure_batch
from bench.usage import Meter
from devstack.errors import StackError
from devstack.stack import Stack
from devstack.state import Server
from devstack.tools import ROOT
from worker_settings import WorkerSettings

CEILING_TIMEOUT_S = 900

Outcome: TypeAlias = CeilingRun | SystemRun | BacklogRun | ScenarioRun


class Trials:
    """Makes measurements with one set of worker settings."""

    def __init__(self, plan: Plan, worker_settings: Mapping[str, str], say: Callable[[str], None]) -> None:
        self._plan = plan
        self._settings = worker_settings
        self._say = say

    def measure(self, what: Measurement, progress: Progress) -> Outcome:
        """One measurement.

        Raises:
            StackError: something didn't come up, or the outcome isn't what it has to be.
        """
        if what.scenario is not None:
            with fresh_stack(self._say, self._settings) as stack:
                return asyncio.run(_measured(what.scenario, stack, progress))
        if what.case is None:
            with fresh_stack(self._say, self._settings) as stack:
                return asyncio.run(measure_backlog(stack, self._plan.backlog, progress))
        if what.is_ceiling:
            return self._ceiling(what.case)
        with fresh_stack(self._say, self._settings) as stack:
            return asyncio.run(measure_batch(stack, *what.case, what.with_webhooks, progress))

    def _ceiling(self, case: Case) -> CeilingRun:
        with fresh_chain(case.items) as chain:
            job = CeilingJob(
                rpc_url=chain.state.chain_rpc_url,
                chain_id=chain.deployment.chain_id,
                tickets=chain.deployment.tickets_address,
                router=chain.deployment.router_address,
                holder=chain.holder,
                items=case.items,
                settlement=case.settlement,
                slice_size=self._setting("slice_size"),
                lane_max_in_flight=self._setting("lane_max_in_flight"),
            )
            return run_script(job, chain.pid)

    def _setting(self, name: str) -> int:
        """What the worker would use."""
        return int(self._settings.get(name.upper(), WorkerSettings.model_fields[name].default))


async def _measured(scenario: Scenario, stack: Stack, progress: Progress) -> ScenarioRun:
    return await MEASURES[scenario](stack, progress)


def run_script(job: CeilingJob, chain_pid: int) -> CeilingRun:
    """Runs the plain script as a process and meters it.

    Raises:
        StackError: it failed or took too long.
    """
    command = [sys.executable, "-m", "bench.ceiling"]
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, cwd=ROOT, stdin=pipe, stdout=pipe, stderr=pipe, text=True, start_new_session=True
    ) as script:
        meter = Meter({"script": script.pid, Server.CHAIN.value: chain_pid})
        meter.start()
        try:
            answer, complaint = script.communicate(job.model_dump_json(), timeout=CEILING_TIMEOUT_S)
        except subprocess.TimeoutExpired as error:
            raise StackError(f"the plain script wasn't done after {CEILING_TIMEOUT_S} s") from error
        finally:
            usage = meter.stop()
            script.kill()
    if script.returncode != 0:
        raise StackError(f"the plain script failed: {complaint.strip().splitlines()[-1:]}")
    return CeilingRun.model_validate_json(answer).model_copy(update={"usage": usage})
