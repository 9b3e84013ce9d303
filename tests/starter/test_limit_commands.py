"""`transfers limits …` as a process on a real database."""

from __future__ import annotations

import pytest

from ledger.pool import Pool
from ledger.rate_limits import RateLimits
from ledger.webhooks import WebhookLedger
from tests.starter.commands import Transfers
from tests.webhooks.conftest import Subscriptions


async def test_a_limit_is_set_listed_changed_and_cleared(transfers: Transfers, pool: Pool) -> None:
    """What is set is listed with its rate and who set it, a second rate replaces the first, and `clear` ends it."""
    made = await transfers("limits", "set", "transfers", "12.5", "--by", "ops", "--json")
    assert made.code == 0, made.err
    assert made.json["ratePerS"] == 12.5
    assert (await transfers("limits", "list", "--json")).json == [made.json]
    assert (await transfers("limits", "set", "transfers", "40")).out == "transfers: 40 per second\n"
    table = await transfers("limits", "list")
    assert "transfers" in table.out
    assert "40" in table.out
    assert [limit.rate_per_s for limit in await RateLimits(pool).limits()] == [40]
    assert (await transfers("limits", "clear", "transfers")).out == "transfers: no limit\n"
    empty = await transfers("limits", "list")
    assert (empty.out, empty.err) == ("", "no limits\n")
    again = await transfers("limits", "clear", "transfers")
    assert (again.code, again.out) == (3, "")
    assert "transfers has no limit" in again.err


async def test_an_endpoints_limit_gives_way_to_the_default(transfers: Transfers, pool: Pool) -> None:
    """One endpoint can have its own limit, in whatever case its id is written; cleared, the default holds again."""
    endpoint = await Subscriptions(pool, WebhookLedger(pool)).create("http://127.0.0.1:9/hooks")
    name = f"webhooks/{endpoint.subscription_id}"
    await transfers("limits", "set", "webhooks", "10")
    assert (await transfers("limits", "set", name.upper().replace("WEBHOOKS", "webhooks"), "2")).code == 0
    assert [limit.name for limit in await RateLimits(pool).limits()] == ["webhooks", name]
    assert (await transfers("limits", "clear", name)).out == f"{name}: the default, 10 per second\n"


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("set", "transfers", "0"), 2, "from 0.001 to 1,000,000"),
        (("set", "transfers", "-5"), 2, "from 0.001 to 1,000,000"),
        (("set", "transfers", "nan"), 2, "from 0.001 to 1,000,000"),
        (("set", "transfers", "inf"), 2, "from 0.001 to 1,000,000"),
        (("set", "transfers", "fast"), 2, "'fast' is no rate"),
        (("set", "transfer", "5"), 2, "chain-transactions, chain-rpc"),
        (("set", "webhooks/nonsense", "5"), 2, "webhooks/<subscription id>"),
        (("set", "chain-rpc/00000000-0000-0000-0000-000000000000", "5"), 2, "there is no rate limit"),
        (("set", "webhooks/00000000-0000-0000-0000-000000000000", "5"), 3, "there is no subscription"),
        (("set", "transfers", "5", "--by", ""), 2, "--by"),
        (("set", "transfers"), 2, "RATE"),
        (("clear", "nothing"), 2, "there is no rate limit 'nothing'"),
    ],
)
async def test_bad_use_is_refused(
    transfers: Transfers, pool: Pool, arguments: tuple[str, ...], code: int, said: str
) -> None:
    """A name or rate that can't be is refused with what is allowed, and nothing is set."""
    ended = await transfers("limits", *arguments)
    assert (ended.code, ended.out) == (code, "")
    assert said in ended.err
    assert "Traceback" not in ended.err
    assert await RateLimits(pool).limits() == []
