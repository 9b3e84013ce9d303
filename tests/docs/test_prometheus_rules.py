"""The Prometheus rules: one for each condition, on metrics that are there, and sound to Prometheus' own tool."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from workflows.interface.alert_rules import MEASURED_KINDS
from workflows.interface.alerts import Thresholds
from workflows.interface.codes import AlertKind
from workflows.interface.names import ScheduleId

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "deploy" / "prometheus"
RULES = (FOLDER / "alerts.yml").read_text()
ALERTS = re.split(r"^ +- alert: ", RULES, flags=re.MULTILINE)[1:]
PROMTOOL = shutil.which("promtool")


def test_there_is_a_rule_for_each_condition() -> None:
    """Each measured kind is the label of a rule; those that steps raise are all in the rule of open alerts."""
    assert set(re.findall(r"kind: ([A-Z_]+)", RULES)) == set(MEASURED_KINDS)
    [raised] = re.findall(r'transfers_alerts_open\{kind=~"([A-Z_|]+)"\}', RULES)
    assert set(raised.split("|")) == set(AlertKind) - MEASURED_KINDS


def test_every_metric_is_in_the_operators_table() -> None:
    """Rules use no name that no worker tells."""
    known = set(re.findall(r"\| `(transfers_[a-z_]+)` \|", (ROOT / "docs" / "operations.md").read_text()))
    assert len(known) > 20
    assert set(re.findall(r"\btransfers_[a-z_]+", RULES)) <= known


def test_the_maintenance_queue_is_watched_by_absence() -> None:
    """Where nobody serves it, no worker tells any figure of the whole service."""
    [rule] = [alert for alert in ALERTS if "queue: maintenance" in alert]
    assert "expr: absent(transfers_workers)" in rule


def test_thresholds_are_the_settings_defaults() -> None:
    """The figures in the rules are those that hold where no setting is made."""
    limits = Thresholds()
    expressions = {
        "QUEUE_DEPTH": f"> {limits.queue_depth}\n",
        "QUEUE_AGE": f"> {limits.queue_age_s:.0f}\n",
        "DEAD_LETTERS": f"> {limits.dead_letters}\n",
        "SIGNER_BALANCE": f"< {limits.signer_balance_wei // 10**9:.0e}\n".replace("e+0", "e"),
        "LANE_STUCK": f"> {limits.lane_stuck_s:.0f}\n",
    }
    for kind, expected in expressions.items():
        [rule] = [alert for alert in ALERTS if f"kind: {kind}" in alert]
        assert expected in rule, kind
    rates = [alert for alert in ALERTS if "kind: FAILURE_RATE" in alert]
    assert all(f"> {limits.failure_rate}\n" in rule for rule in rates)
    assert limits.window.total_seconds() == 15 * 60
    assert all(schedule in RULES for schedule in ScheduleId)


@pytest.mark.skipif(PROMTOOL is None, reason="promtool isn't installed (Debian: apt-get install prometheus)")
@pytest.mark.parametrize("arguments", [("check", "rules", "alerts.yml"), ("test", "rules", "alerts_test.yml")])
def test_promtool_accepts_the_rules_and_what_they_say(arguments: tuple[str, ...]) -> None:
    """Prometheus' own tool loads the rules, and they fire on the series of the test file as it says."""
    assert PROMTOOL is not None
    ended = subprocess.run([PROMTOOL, *arguments], cwd=FOLDER, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "SUCCESS" in ended.stdout
