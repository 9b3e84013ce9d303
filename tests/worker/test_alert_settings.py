"""The settings of alerts: what is refused and in which words, and what the checks get of them."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tests.alerts.conftest import KEY, SECRET
from tests.worker.test_settings import put
from worker_settings import SettingsError, read_settings
from workflows.interface.alerts import Thresholds

HOOK = "https://hooks.example/T0/secretpart"


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("ALERT_WEBHOOK_URL", HOOK, "needs ALERT_WEBHOOK_SECRET"),
        ("ALERT_WEBHOOK_SECRET", "secretpart", "whsec_ and base64 of 24 to 64"),
        ("ALERT_WEBHOOK_SECRET", "whsec_c2VjcmV0cGFydA==", "whsec_ and base64 of 24 to 64"),
        ("ALERT_SLACK_URL", "ftp://secretpart", "http:// or https://"),
        ("ALERT_REPEAT_S", "0", "greater than or equal to 1"),
        ("ALERT_QUIET_S", "nan", "finite|greater"),
        ("ALERT_QUEUE_DEPTH", "-1", "greater than or equal to 1"),
        ("ALERT_QUEUE_AGE_S", "soon", "valid number"),
        ("ALERT_NO_WORKER_S", "60", "greater than or equal to 70"),
        ("ALERT_SCHEDULE_INTERVALS", "1", "greater than or equal to 1.5"),
        ("ALERT_WINDOW_S", "-5", "greater than or equal to 1"),
        ("ALERT_FAILURE_RATE", "1", "less than 1"),
        ("ALERT_FAILURE_LEAST_ENDED", "0", "greater than or equal to 1"),
        ("ALERT_DEAD_LETTERS", "-1", "greater than or equal to 0"),
        ("ALERT_SIGNER_BALANCE_ETH", "-0.1", "greater than or equal to 0"),
        ("ALERT_LANE_STUCK_S", "inf", "finite|less than"),
        ("ALERT_ENDPOINT_DISABLED_S", "0", "greater than or equal to 1"),
    ],
)
def test_a_bad_setting_is_told_by_its_name(monkeypatch: pytest.MonkeyPatch, name: str, value: str, said: str) -> None:
    """The fault is one line that names the variable and what it must be, without a secret."""
    put(monkeypatch, **{name: value})
    with pytest.raises(SettingsError, match=rf"^{name}: .*({said}).*$") as caught:
        read_settings()
    assert len(str(caught.value).splitlines()) == 1
    assert "secretpart" not in str(caught.value)


def test_all_faults_are_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of alerts stand with the others."""
    put(monkeypatch, WINDOW="0", ALERT_QUEUE_DEPTH="0", ALERT_FAILURE_RATE="2")
    with pytest.raises(SettingsError) as caught:
        read_settings()
    assert {line.partition(":")[0] for line in str(caught.value).splitlines()} == {
        "WINDOW",
        "ALERT_QUEUE_DEPTH",
        "ALERT_FAILURE_RATE",
    }


def test_the_checks_get_what_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """Left out, the defaults hold and nobody but the log is told; set, they are taken over."""
    put(monkeypatch)
    plan = read_settings().alert_plan
    assert plan.limits == Thresholds()
    assert (plan.webhook_url, plan.slack_url, list(plan.channels)) == (None, None, ["log"])
    put(
        monkeypatch,
        ALERT_WEBHOOK_URL=HOOK,
        ALERT_WEBHOOK_SECRET=SECRET,
        ALERT_SLACK_URL=HOOK + "/slack",
        ALERT_SIGNER_BALANCE_ETH="0.2",
        ALERT_WINDOW_S="60",
        ALERT_REPEAT_S="5",
    )
    settings = read_settings()
    plan = settings.alert_plan
    assert (plan.webhook_url, plan.webhook_secret, plan.slack_url) == (HOOK, KEY, HOOK + "/slack")
    assert plan.limits == Thresholds(signer_balance_wei=2 * 10**17, window=timedelta(minutes=1))
    assert plan.repeat == timedelta(seconds=5)
    assert "secretpart" not in repr(settings)
