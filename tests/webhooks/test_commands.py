"""`transfers webhooks …` as a process on a real database."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from ledger.webhooks import WebhookLedger

ROOT = Path(__file__).resolve().parents[2]
URL = "http://127.0.0.1:9/hooks"


class Ended(NamedTuple):
    """How a command ended."""

    code: int | None
    out: str
    err: str


async def webhooks(database_url: str, *arguments: str) -> Ended:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        "from starter.webhooks import app; app()",
        *arguments,
        cwd=ROOT,
        env={**os.environ, "DATABASE_URL": database_url, "COLUMNS": "200"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    return Ended(process.returncode, out.decode(), err.decode())


async def test_create_shows_the_secret_once(database_url: str, ledger: WebhookLedger) -> None:
    """`create` prints the subscription with its secret, `list` without; what was asked for is stored."""
    made = await webhooks(
        database_url,
        *("create", "--url", URL, "--user", "seller", "--event-type", "batch.*", "--event-type", "transfer.completed"),
        *("--max-attempts", "7", "--first-delay-s", "2", "--json"),
    )
    assert made.code == 0, made.err
    created = json.loads(made.out)
    assert created["secret"].startswith("whsec_")
    assert created["retry"] == {"maxAttempts": 7, "firstDelayS": 2.0, "delayCoefficient": 2.0, "maxDelayS": 3600.0}
    stored = (await ledger.list_subscriptions(with_disabled=False))[0]
    assert (str(stored.subscription_id), stored.user_id) == (created["subscriptionId"], "seller")
    assert stored.event_types == ("batch.*", "transfer.completed")
    listed = await webhooks(database_url, "list", "--json")
    assert {**created, "secret": None} == {**json.loads(listed.out)[0], "secret": None}
    assert "whsec_" not in listed.out


async def test_an_unknown_user_is_taken_with_a_warning(database_url: str, ledger: WebhookLedger) -> None:
    """A subscription may come before its user's wallet; a mistyped name is warned of, apart from the result."""
    made = await webhooks(database_url, "create", "--url", URL, "--user", "nobody-such", "--json")
    assert (made.code, json.loads(made.out)["userId"]) == (0, "nobody-such")
    assert "warning: no user nobody-such has a wallet yet" in made.err
    assert len(await ledger.list_subscriptions(with_disabled=False)) == 1
    assert (await webhooks(database_url, "create", "--url", URL)).err == ""


async def test_disable_and_list(database_url: str) -> None:
    """A disabled subscription is listed with `--all` alone, with its reason."""
    created = json.loads((await webhooks(database_url, "create", "--url", URL, "--json")).out)
    assert created["eventTypes"] == ["*"]
    done = await webhooks(database_url, "disable", created["subscriptionId"], "--reason", "moved house", "--json")
    assert json.loads(done.out)["disabledReason"] == "moved house"
    assert json.loads((await webhooks(database_url, "list", "--json")).out) == []
    everything = await webhooks(database_url, "list", "--all")
    assert "moved house" in everything.out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("create", "--url", "ftp://example.com"), "http://"),
        (("create", "--url", URL, "--event-type", "ticket.moved"), "transfer.completed"),
        (("create", "--url", URL, "--user", ""), "user id"),
        (("create", "--url", URL, "--first-delay-s", "10", "--max-delay-s", "1"), "--max-delay-s"),
        (("create", "--url", URL, "--first-delay-s", "nan"), "--first-delay-s"),
        (("create", "--url", URL, "--max-delay-s", "nan"), "--max-delay-s"),
        (("create",), "--url"),
        (("disable", "nonsense"), "UUID"),
    ],
)
async def test_bad_use_is_refused(database_url: str, arguments: tuple[str, ...], said: str) -> None:
    """A bad URL, event type, user, policy or id ends with exit code 2 and says what is wrong."""
    ended = await webhooks(database_url, *arguments)
    assert (ended.code, ended.out) == (2, "")
    assert said in ended.err
    assert "Traceback" not in ended.err


async def test_unknown_subscription_is_not_found(database_url: str) -> None:
    """Disabling a subscription that doesn't exist ends with exit code 3."""
    ended = await webhooks(database_url, "disable", "00000000-0000-0000-0000-000000000000")
    assert (ended.code, ended.out) == (3, "")
    assert "no subscription" in ended.err


@pytest.mark.parametrize(("url", "code"), [("postgresql://nobody@127.0.0.1:1/none", 1), ("nonsense", 2)])
async def test_database_out_of_reach_is_one_line(url: str, code: int) -> None:
    """Without a usable database the command ends with one line: exit code 1 out of reach, 2 no address."""
    ended = await webhooks(url, "list")
    assert ended.code == code
    assert ended.err.startswith("error: ")
    assert ended.err.count("\n") == 1
