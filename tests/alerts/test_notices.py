"""How alerts are told: signed, to Slack, to the log; again only as configured; kept while a receiver is down."""

from __future__ import annotations

import json
import logging
from datetime import timedelta

import pytest
from aiohttp import web
from standardwebhooks import Webhook

from tests.alerts.conftest import SECRET, World
from tests.alerts.test_conditions import served, unserved
from tests.webhooks.receiver import Receiver
from workflows.interface.codes import AlertKind


def hooks(receiver: Receiver) -> list[dict[str, object]]:
    """The events, each verified with the reference library."""
    signed = [(headers, body) for headers, body in receiver.requests if "webhook-signature" in headers]
    return [Webhook(SECRET).verify(body, headers) for headers, body in signed]


def ids(receiver: Receiver) -> list[str]:
    """The webhook-id of each signed request."""
    return [headers["webhook-id"] for headers, _ in receiver.requests if "webhook-id" in headers]


def slack(receiver: Receiver) -> list[str]:
    return [json.loads(body)["text"] for headers, body in receiver.requests if "webhook-id" not in headers]


async def test_opening_and_end_reach_webhook_slack_and_log(
    world: World, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    """Each channel gets one message for the opening and one for the end; the webhook's are signed."""
    caplog.set_level(logging.INFO, logger="activities.alerts")
    await unserved(world)
    await world.check()
    assert (await world.send()).sent == 3
    assert (await world.send()).sent == 0
    await served(world)
    await world.check()
    assert await world.send() == (await world.send()).model_copy(update={"sent": 3})
    opened, closed = hooks(receiver)
    assert (opened["type"], closed["type"]) == ("alert.opened", "alert.closed")
    data = closed["data"]
    assert isinstance(data, dict)
    assert (data["kind"], data["subject"], data["severity"]) == ("NO_WORKER", "transfers", "critical")
    assert data["closeMessage"] == "the condition is over"
    first, second = slack(receiver)
    assert first.startswith("alert [critical] NO_WORKER transfers: no worker has asked queue transfers")
    assert second.startswith("alert closed [critical] NO_WORKER transfers: the condition is over")
    lines = [record for record in caplog.records if "NO_WORKER" in record.getMessage()]
    assert [record.levelname for record in lines] == ["ERROR", "INFO"]


async def test_slack_gets_no_markup_of_strangers(world: World, receiver: Receiver) -> None:
    """What Slack reads as links or mentions is escaped."""
    await world.steps.database._raise_alert(AlertKind.DEFECT, "x", "<!channel> & <http://a|b>")
    await world.check()
    await world.send()
    [text] = slack(receiver)
    assert "&lt;!channel&gt; &amp; &lt;http://a|b&gt;" in text


async def test_a_receiver_that_is_down_gets_it_later_in_order_with_the_same_id(
    world: World, receiver: Receiver
) -> None:
    """Opening and end wait, the opening first; each keeps its webhook-id over all attempts."""
    receiver.answer = lambda _: web.Response(status=503)
    await unserved(world)
    await world.check()
    told = await world.send()
    assert (told.sent, told.failed, told.waiting) == (1, 2, 2)
    await served(world)
    await world.check()
    assert (await world.send()).failed == 0, "not due yet"
    assert set(await world.pool.fetchval("SELECT array_agg(last_error) FROM alert_notices WHERE attempts > 0")) == {
        "HTTP 503",
        None,
    }
    receiver.answer = lambda _: web.Response(status=204)
    await world.let_pass(timedelta(minutes=1))
    assert (await world.send()).waiting == 0
    events = hooks(receiver)
    assert [event["type"] for event in events] == ["alert.opened", "alert.opened", "alert.closed"]
    first, again, last = ids(receiver)
    assert first == again != last


async def test_a_sender_that_died_leaves_its_messages_to_the_next(world: World, receiver: Receiver) -> None:
    """A claimed message that was never sent is due again after a minute, with the same id."""
    await unserved(world)
    await world.check()
    claimed = await world.ledger.claim(world.plan.channels, 10, timedelta(seconds=60))
    assert len(claimed) == 3
    assert (await world.send()).sent == 0
    await world.let_pass(timedelta(seconds=61))
    assert (await world.send()).sent == 3
    assert set(ids(receiver)) <= {str(notice.notice_id) for notice in claimed}


async def test_an_open_alert_is_repeated_only_as_configured(world: World, receiver: Receiver) -> None:
    """Nothing within the hour, one message after it, none once somebody acknowledged it; its end is told still."""
    await unserved(world)
    await world.check()
    await world.let_pass(timedelta(minutes=59))
    await world.check()
    await world.let_pass(timedelta(minutes=2))
    await world.check()
    await world.check()
    await world.send()
    assert [event["type"] for event in hooks(receiver)] == ["alert.opened"], "the repetition waited for it"
    await world.let_pass(timedelta(minutes=61))
    await world.check()
    await world.send()
    assert [event["type"] for event in hooks(receiver)] == ["alert.opened", "alert.repeated"]
    alert_id = await world.pool.fetchval("SELECT alert_id FROM alerts")
    assert await world.ledger.ack(alert_id, "ops")
    await world.let_pass(timedelta(minutes=61))
    await world.check()
    await served(world)
    await world.check()
    await world.send()
    assert [event["type"] for event in hooks(receiver)][2:] == ["alert.closed"]


async def test_without_receivers_the_log_alone_tells(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """No message is written for a channel that isn't configured."""
    world.plan = world.plan._replace(webhook_url=None, slack_url=None)
    await unserved(world)
    await world.check()
    assert (await world.send()).sent == 1
    assert "alert [critical] NO_WORKER" in caplog.text


def test_the_plans_repr_holds_no_secret(world: World) -> None:
    """Neither addresses nor the key are shown."""
    assert "127.0.0.1" not in repr(world.plan)
    assert repr(world.plan.webhook_secret) not in repr(world.plan)
