"""Monitoring: after a real batch, the commands tell what failed and how long things took."""

from __future__ import annotations

import pytest

from tests.e2e.conftest import System
from tests.starter.commands import Transfers

pytestmark = pytest.mark.usefixtures("blocks")


async def test_failures_and_times_of_a_batch_are_told(system: System, command: Transfers) -> None:
    """`failures` groups what failed by code with an example; `stats` has the times of items, batch and chain."""
    await system.worker.start()
    tickets = await system.crew.world_tickets(8)
    lines: list[tuple[int | str, str]] = [(ticket, "bob") for ticket in tickets[:5]]
    lines += [(tickets[5], "nobody"), (tickets[6], "nobody"), (99_999_999, "bob")]
    handle = await system.start_batch(lines)
    assert (await handle.result())["failed"] == 3
    groups = {group["code"]: group for group in (await command("failures", "--json")).json}
    assert {code: (group["jobType"], group["failures"]) for code, group in groups.items()} == {
        "UNKNOWN_USER": ("item", 2),
        "UNKNOWN_TICKET": ("item", 1),
    }
    assert groups["UNKNOWN_TICKET"]["example"] == f"{handle.id} item 8"
    assert groups["UNKNOWN_USER"]["firstAt"] <= groups["UNKNOWN_USER"]["lastAt"]
    times = {(one["jobType"], one["phase"]): one for one in (await command("stats", "--json")).json["times"]}
    for job_type, phase, jobs in (
        ("item", "queued", 5),
        ("item", "chain", 5),
        ("item", "total", 5),
        ("batch", "total", 1),
    ):
        told = times[job_type, phase]
        assert told["jobs"] == jobs
        assert 0 <= told["p50S"] <= told["p95S"] <= told["maxS"]
    assert times["item", "chain"]["maxS"] <= times["item", "total"]["maxS"]
