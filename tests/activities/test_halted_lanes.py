"""A lane that a person takes out of use, with the statements that the operations guide gives."""

from __future__ import annotations

import re
from pathlib import Path

from tests.crew import Crew, fault_of, slice_from
from workflows.interface.codes import ErrorCode

GUIDE = Path(__file__).parents[2] / "docs" / "operations.md"
HALT, RESUME = re.findall(r"^UPDATE chain_lanes SET halted_reason .*;$", GUIDE.read_text(), re.MULTILINE)
SIZE = 4


def of_lane(statement: str, crew: Crew) -> str:
    """The guide's statement with this lane's address in its place."""
    return re.sub(r"'\\x[0-9a-f]{40}'", rf"'\\x{crew.lane.signer.hex()}'", statement)


async def test_a_lane_halted_as_the_guide_says_takes_nothing_new_until_it_is_resumed(crew: Crew) -> None:
    """What is open is still settled, nothing is bound, an alert tells that no lane is left; resuming ends it."""
    await crew.world()
    before, after = [slice_from(await crew.batch(SIZE), SIZE) for _ in range(2)]
    await crew.do(crew.blockchain.submit_transfers, before)
    await crew.books.pool.execute(of_lane(HALT, crew))
    assert await fault_of(crew.do(crew.blockchain.submit_transfers, after)) == ErrorCode.NOT_YET
    await crew.confirm(before)
    assert await crew.books.statuses(before.batch_id) == "C" * SIZE
    assert await crew.books.pool.fetchval("SELECT count(*) FROM chain_transactions") == 1
    [alert] = await crew.books.pool.fetch("SELECT kind, subject, message FROM alerts")
    assert tuple(alert)[:2] == ("LANE_CONDITION", "lanes")
    assert "all are halted" in alert["message"]
    await crew.books.pool.execute(of_lane(RESUME, crew))
    await crew.do(crew.blockchain.submit_transfers, after)
    await crew.confirm(after)
    assert await crew.books.statuses(after.batch_id) == "C" * SIZE
    assert await crew.differences() == []
