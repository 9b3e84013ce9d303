"""`transfers alerts list|ack` as a process."""

from __future__ import annotations

import pytest

from ledger.runs import BatchRuns
from tests.starter.commands import Transfers
from tests.starter.conftest import Service
from workflows.interface.codes import AlertKind


@pytest.fixture
async def alert_id(service: Service) -> int:
    """An open alert, and one that was closed by hand."""
    runs = BatchRuns(service.pool)
    await runs.raise_alert(AlertKind.DEFECT, "lane/1", "mended long ago")
    await service.pool.execute("UPDATE alerts SET closed_at = now()")
    await runs.raise_alert(AlertKind.DEFECT, "batch/1 item 2", "KeyError: '[red]x'\nline two")
    found: int = await service.pool.fetchval("SELECT alert_id FROM alerts WHERE closed_at IS NULL")
    return found


async def test_list_shows_open_alerts_and_closed_ones_on_demand(transfers: Transfers, alert_id: int) -> None:
    """Both forms tell kind, subject, message and state; no markup of a message works."""
    [alert] = (await transfers("alerts", "list", "--json")).json
    assert (alert["alertId"], alert["kind"], alert["subject"]) == (alert_id, "DEFECT", "batch/1 item 2")
    assert (alert["seen"], alert["severity"], alert["ackedBy"], alert["closedAt"]) == (1, "critical", None, None)
    everything = (await transfers("alerts", "list", "--all", "--json")).json
    assert [one["subject"] for one in everything] == ["batch/1 item 2", "lane/1"]
    text = await transfers("alerts", "list", "--all")
    assert "[red]x" in text.out
    assert "by hand" in text.out


async def test_ack_names_who_did_first(transfers: Transfers, alert_id: int) -> None:
    """An alert is acknowledged once; a second time changes nothing."""
    acked = await transfers("alerts", "ack", str(alert_id), "--by", "ops", "--json")
    assert (acked.code, acked.json["ackedBy"]) == (0, "ops")
    again = await transfers("alerts", "ack", str(alert_id), "--by", "others")
    assert again.code == 0
    assert "acknowledged by ops" in again.out
    assert "acknowledged by ops" in (await transfers("alerts", "list")).out


async def test_ack_of_none_and_of_a_closed_one_is_refused(
    transfers: Transfers, service: Service, alert_id: int
) -> None:
    """No such alert, one that has closed, no name, no number: an exit code and one line each."""
    unknown = await transfers("alerts", "ack", str(alert_id + 100), "--by", "ops")
    assert (unknown.code, unknown.out) == (3, "")
    assert f"there is no alert {alert_id + 100}" in unknown.err
    closed = await service.pool.fetchval("SELECT alert_id FROM alerts WHERE closed_at IS NOT NULL")
    refused = await transfers("alerts", "ack", str(closed), "--by", "ops")
    assert refused.code == 3
    assert "has closed already" in refused.err
    assert (await transfers("alerts", "ack", str(alert_id), "--by", " ")).code == 2
    assert (await transfers("alerts", "ack", "-1", "--by", "ops")).code == 2
    assert (await transfers("alerts", "ack", str(2**70), "--by", "ops")).code == 2


async def test_no_alerts_is_no_error(transfers: Transfers) -> None:
    """An empty list says so on standard error; as JSON it's an empty array."""
    ended = await transfers("alerts", "list")
    assert (ended.code, ended.out, ended.err) == (0, "", "no open alerts\n")
    assert (await transfers("alerts", "list", "--json")).json == []


async def test_a_database_out_of_reach_is_one_line(transfers: Transfers) -> None:
    """Exit code 1 and a sentence that names the server."""
    ended = await transfers("alerts", "list", DATABASE_URL="postgresql://nobody@127.0.0.1:1/none")
    assert ended.code == 1
    assert ended.err.startswith("error: Postgres at 127.0.0.1:1")
    assert ended.err.count("\n") == 1
