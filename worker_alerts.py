"""Puts the steps of `CheckAlerts` together."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from activities.alerts import AlertLedgers, Alerts, Probes
from activities.faults import RaiseAlert
from chain.heads import read_balances
from ledger.alerts import AlertLedger
from ledger.maintenance import JobFailures
from ledger.reports import Reports
from starter.monitoring import read_queues, read_schedules
from webhooks.sender import Sender
from worker_alert_settings import AlertSettings
from worker_connections import Connections
from workflows.interface.chain import Lane


def alert_steps(to: Connections, settings: AlertSettings, sender: Sender, raise_alert: RaiseAlert) -> Alerts:
    """Of the queue `maintenance`: alerts."""

    async def balances(lanes: Sequence[Lane]) -> Sequence[int]:
        return await read_balances(to.rpc, [lane.signer for lane in lanes])

    probes = Probes(partial(read_queues, to.temporal), partial(read_schedules, to.temporal), balances)
    ledgers = AlertLedgers(AlertLedger(to.pool), Reports(to.pool), JobFailures(to.pool))
    return Alerts(ledgers, probes, sender, settings.alert_plan, raise_alert)
