"""`transfers failures|stats` as processes, on rows of all kinds."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import pytest

from ledger.pool import Pool
from tests.starter.commands import Transfers
from tests.starter.conftest import Service

BATCH = UUID(int=7)


@pytest.fixture
async def rows(service: Service) -> None:
    """A batch with nine completed items and three failed, a single, a gift, deliveries, a job that died."""
    await write(service.pool)


async def write(pool: Pool) -> None:
    await pool.execute(
        "INSERT INTO batch_transfers (batch_id, from_user_id, settlement, status, item_count, run_no, closed_run,"
        " created_at, started_at, ended_at) VALUES ($1, 'alice', 'batched', 'COMPLETED_WITH_FAILURES', 12, 1, 1,"
        " now() - interval '100 s', now() - interval '90 s', now() - interval '30 s')",
        BATCH,
    )
    # Item n was created 60 s ago, submitted after 1 s, done after n s more.
    await pool.execute(
        "INSERT INTO batch_transfer_items (batch_id, item_no, ticket_id, recipient, transfer_id, status, failed_run,"
        " failure_code, failure_reason, ended_at)"
        " SELECT $1, n, n::text, 'bob', md5(n::text)::uuid,"
        " CASE WHEN n > 9 THEN 'FAILED' ELSE 'COMPLETED' END::item_status,"
        " CASE WHEN n > 9 THEN 1 END, CASE WHEN n > 11 THEN 'REVERTED' WHEN n > 9 THEN 'UNKNOWN_USER' END,"
        " CASE WHEN n > 9 THEN 'no ' || n END, now() - make_interval(secs => 60 - n) FROM generate_series(1, 12) n",
        BATCH,
    )
    await pool.execute(
        "INSERT INTO ticket_transfers (transfer_id, batch_id, item_no, ticket_id, from_user_id, token, holder,"
        " recipient, settlement, status, bindings, created_at, submitted_at, ended_at)"
        " SELECT transfer_id, batch_id, item_no, ticket_id, 'alice', a, a, a, 'batched', 'COMPLETED', 1,"
        " now() - interval '60 s', now() - interval '59 s', now() - make_interval(secs => 59 - item_no)"
        " FROM batch_transfer_items, decode(repeat('11', 20), 'hex') a WHERE item_no <= 9"
    )
    await pool.execute(
        "INSERT INTO ticket_transfers (transfer_id, ticket_id, from_user_id, kind, settlement, status, failure_code,"
        " failure_reason, created_at, ended_at) VALUES"
        " ($1, '100', 'alice', 'direct', 'single', 'FAILED', 'NOT_APPROVED', 'not approved', now() - interval '9 s',"
        "  now()),"
        " ($2, '101', 'alice', 'gift', 'single', 'FAILED', 'REVERTED', 'refused', now() - interval '2 days',"
        "  now() - interval '2 days')",
        uuid4(),
        uuid4(),
    )
    subscription = await pool.fetchval(
        "INSERT INTO webhook_subscriptions (url, secret, event_types) VALUES ('http://a.test/x', sha256('k'), '{*}')"
        " RETURNING subscription_id"
    )
    await pool.execute(
        "INSERT INTO webhook_deliveries (subscription_id, event_id, status, attempts, next_attempt_at, last_error,"
        " created_at, ended_at) SELECT $1, gen_random_uuid(), s::delivery_status, 5, NULL, 'HTTP 503',"
        " now() - interval '4 s', now() - interval '2 s' FROM unnest('{FAILED,FAILED,DELIVERED}'::text[]) s",
        subscription,
    )
    await pool.execute(
        "INSERT INTO dead_letters (kind, job, code, reason, attempts, first_failed_at, payload_ref)"
        " VALUES ('job', 'clean-stale-batches', 'DEFECT', 'KeyError', 1, now(), 'clean-stale-batches/run-1')"
    )


@pytest.mark.usefixtures("rows")
async def test_failures_are_grouped_by_job_code_and_endpoint(transfers: Transfers) -> None:
    """Each group has its count, first and last time, and its latest failure as the example; older ones are left out."""
    groups: list[dict[str, Any]] = (await transfers("failures", "--json")).json
    found = {(g["jobType"], g["code"], g["endpoint"]): g["failures"] for g in groups}
    assert found == {
        ("item", "UNKNOWN_USER", None): 2,
        ("delivery", "HTTP 503", "http://a.test/x"): 2,
        ("item", "REVERTED", None): 1,
        ("transfer", "NOT_APPROVED", None): 1,
        ("job", "DEFECT", None): 1,
    }
    unknown = next(g for g in groups if g["code"] == "UNKNOWN_USER")
    assert (unknown["example"], unknown["reason"]) == (f"batch/{BATCH} item 11", "no 11")
    assert unknown["firstAt"] < unknown["lastAt"]
    wide = {(g["jobType"], g["code"]) for g in (await transfers("failures", "--since", "3d", "--json")).json}
    assert wide - {(job, code) for job, code, _ in found} == {("gift", "REVERTED")}
    text = (await transfers("failures")).out
    assert "http://a.test/x" in text
    assert f"batch/{BATCH} item 11" in text


@pytest.mark.usefixtures("rows")
async def test_stats_tell_how_long_things_took(transfers: Transfers) -> None:
    """Count, median, 95th percentile and longest of each phase, by job type, of what ended well."""
    told = (await transfers("stats", "--json")).json
    times = {(t["jobType"], t["phase"]): t for t in told["times"]}
    assert set(times) == {
        ("item", "queued"),
        ("item", "chain"),
        ("item", "total"),
        ("batch", "queued"),
        ("batch", "total"),
        ("delivery", "total"),
    }
    chain = times["item", "chain"]
    assert [round(chain[name], 1) for name in ("jobs", "p50S", "p95S", "maxS")] == [9, 5.0, 8.6, 9.0]
    assert round(times["item", "queued"]["maxS"], 3) == 1
    assert round(times["item", "total"]["maxS"], 3) == 10
    assert round(times["batch", "total"]["p50S"]) == 60
    assert times["delivery", "total"]["jobs"] == 1
    assert (await transfers("stats", "--since", "1s", "--json")).json["times"] == []
    assert "8.600" in (await transfers("stats")).out


@pytest.mark.usefixtures("rows")
async def test_stats_of_a_batch_name_its_slowest_items(transfers: Transfers) -> None:
    """The items of one batch, whenever they ended, and which of them took longest."""
    told = (await transfers("stats", "--batch", str(BATCH), "--json")).json
    assert {(t["phase"], t["jobs"]) for t in told["times"]} == {("queued", 9), ("chain", 9), ("total", 9)}
    assert [(item["itemNo"], round(item["totalS"])) for item in told["slowest"]] == [
        (n, n + 1) for n in range(9, 4, -1)
    ]
    assert "slowest item" in (await transfers("stats", "--batch", str(BATCH))).out


async def test_nothing_and_bad_use_are_said(transfers: Transfers) -> None:
    """Nothing to tell is no error; an unknown batch and a span without a unit are."""
    nothing = await transfers("failures")
    assert (nothing.code, nothing.out, nothing.err) == (0, "", "nothing failed within the last 24h\n")
    assert "nothing ended" in (await transfers("stats")).err
    for command in ("failures", "stats"):
        bad = await transfers(command, "--since", "yesterday")
        assert bad.code == 2
        assert "36h" in bad.err
    assert (await transfers("stats", "--batch", str(uuid4()))).code == 3
    away = await transfers("stats", DATABASE_URL="postgresql://nobody@127.0.0.1:1/none")
    assert (away.code, away.err.count("\n")) == (1, 1)
