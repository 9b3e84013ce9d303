"""Puts the steps of each queue together from what the worker is connected to."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from temporalio.client import Client

from activities.blockchain import Blockchain
from activities.chain_limits import ChainLimits
from activities.chain_work import ChainLedgers, ChainTools, ChainWork
from activities.dead_letters import DeadLetterSteps
from activities.lane_waking import LaneWaker
from activities.maintenance import Maintenance, MaintenanceLedgers, RestoreSchedules
from activities.rate_gate import RateGate
from activities.single_transfers import ChainSingleSteps, SingleLedgers, SingleSteps
from activities.transfers import Pace, TransferLedgers, Transfers
from activities.turns import Turns
from activities.waking import Waker
from activities.webhooks import Webhooks
from chain.approvals import Approvals
from chain.block_clock import BlockClock
from chain.confirmation import Confirmer
from chain.keccak import keccak256
from chain.packing import OPENZEPPELIN, Packer
from chain.recipients import Recipients
from chain.sender import Sender as ChainSender
from ledger.archive import WebhookArchive
from ledger.attempts import Attempts
from ledger.binding import Binding
from ledger.creation import TransferCreation
from ledger.dead_letters import DeadLetters
from ledger.gifts import Gifts
from ledger.maintenance import Expiry, JobFailures, RetryClaims
from ledger.pool import Pool
from ledger.rate_limits import RateLimits
from ledger.retries import Retries
from ledger.runs import BatchRuns
from ledger.settlement import Settling
from ledger.single_retries import SingleRetries
from ledger.singles import SingleTransfers
from ledger.staging import BatchWriter
from ledger.stale_batches import StaleBatches
from ledger.stale_transfers import StaleTransfers
from ledger.webhooks import WebhookLedger
from starter.schedules import restore_schedules
from webhooks.sender import Sender as WebhookSender
from worker_alerts import alert_steps
from worker_connections import Connections
from worker_settings import WorkerSettings
from workflows.interface.deliveries import DeliveryWatch
from workflows.interface.names import Queue
from workflows.interface.validation import judge

_RULE = partial(judge, keccak256=keccak256)


class Tools(NamedTuple):
    """What steps are built from."""

    settings: WorkerSettings
    to: Connections
    waker: Waker
    lane_waker: LaneWaker
    turns: Turns
    watch: DeliveryWatch | None = None

    @property
    def runs(self) -> BatchRuns:
        """Batches, and alerts."""
        return BatchRuns(self.to.pool)

    @property
    def retries(self) -> Retries:
        """Failed items that come back."""
        return Retries(self.to.pool, _RULE, self.settings.own_contracts)

    @property
    def singles(self) -> SingleTransfers:
        """Transfers that no batch works on."""
        return SingleTransfers(self.to.pool, _RULE, self.settings.own_contracts)


def steps_by_queue(tools: Tools, sender: WebhookSender) -> dict[Queue, list[Callable[..., Any]]]:
    """The activities that a worker of each queue offers."""
    pool, settings, raise_alert = tools.to.pool, tools.settings, tools.runs.raise_alert
    gate = RateGate(RateLimits(pool))
    webhooks, chain = WebhookLedger(pool), chain_work(tools, gate)
    objects: dict[Queue, list[object]] = {
        Queue.TRANSFERS: [batch_steps(tools), single_steps(tools)],
        Queue.BLOCKCHAIN: [slice_chain_steps(tools, chain), single_chain_steps(tools, chain)],
        Queue.WEBHOOKS: [
            Webhooks(webhooks, sender, raise_alert, settings.webhooks_slots, gate=gate, watch=tools.watch)
        ],
        Queue.MAINTENANCE: [
            maintenance_steps(
                pool, tools.to.temporal, tools.waker, partial(restore_schedules, tools.to.temporal, settings)
            ),
            alert_steps(tools.to, settings, sender, raise_alert),
            DeadLetterSteps(DeadLetters(pool), tools.to.temporal, raise_alert),
        ],
    }
    return {queue: [method for one in steps for method in steps_of(one)] for queue, steps in objects.items()}


def maintenance_steps(pool: Pool, client: Client, waker: Waker, restore: RestoreSchedules) -> Maintenance:
    """Of the queue `maintenance`: the scheduled jobs."""
    ledgers = MaintenanceLedgers(
        webhooks=WebhookLedger(pool),
        expiry=Expiry(pool),
        retries=RetryClaims(pool),
        archive=WebhookArchive(pool),
        batches=StaleBatches(pool),
        transfers=StaleTransfers(pool),
        letters=DeadLetters(pool),
        failures=JobFailures(pool),
    )
    return Maintenance(ledgers, client, waker, BatchRuns(pool).raise_alert, restore)


def batch_steps(tools: Tools) -> Transfers:
    """Of the queue `transfers`: batches."""
    pool, settings = tools.to.pool, tools.settings
    ledgers = TransferLedgers(
        runs=tools.runs,
        writer=BatchWriter(pool),
        creation=TransferCreation(pool, _RULE, settings.own_contracts),
        retries=tools.retries,
        letters=DeadLetters(pool),
    )
    return Transfers(
        ledgers, tools.waker, Pace(settings.slice_size, settings.window, settings.slices_per_run), tools.turns
    )


def single_steps(tools: Tools) -> SingleSteps:
    """Of the queue `transfers`: single transfers and gifts."""
    pool = tools.to.pool
    retries = SingleRetries(pool, _RULE, tools.settings.own_contracts)
    return SingleSteps(
        SingleLedgers(tools.singles, Gifts(pool), retries), tools.waker, tools.runs.raise_alert, tools.turns
    )


def slice_chain_steps(tools: Tools, chain: ChainWork) -> Blockchain:
    """Of the queue `blockchain`: slices and lanes."""
    return Blockchain(chain, tools.runs, tools.retries, tools.turns)


def single_chain_steps(tools: Tools, chain: ChainWork) -> ChainSingleSteps:
    """Of the queue `blockchain`: single transfers."""
    return ChainSingleSteps(chain, tools.singles, tools.runs, tools.turns)


def chain_work(tools: Tools, gate: RateGate) -> ChainWork:
    """Binding, sending and settling on the worker's lanes."""
    settings, to = tools.settings, tools.to
    router, tickets = (bytes.fromhex(a[2:]) for a in (settings.router_address, settings.tickets_address))
    attempts = Attempts(to.pool)
    ledgers = ChainLedgers(
        binding=Binding(to.pool, to.chain_id, list(to.signers)), attempts=attempts, settling=Settling(to.pool)
    )
    parts = ChainTools(
        approvals=Approvals(to.rpc, tickets, router, list(to.signers)),
        packer=Packer({tickets: OPENZEPPELIN}),
        recipients=Recipients(to.rpc),
        sender=ChainSender(to.rpc, attempts, to.signers, router),
        confirmer=Confirmer(to.rpc, router, settings.chain_depth),
        blocks=BlockClock(settings.chain_poll_s),
    )
    limits = ChainLimits(gate, to.rpc.meter)
    return ChainWork(ledgers, parts, tools.waker, tools.lane_waker, tools.runs.raise_alert, limits=limits)


def steps_of(activities: object) -> list[Callable[..., Any]]:
    """The activity methods of an object."""
    methods = (getattr(activities, name) for name in dir(activities) if not name.startswith("_"))
    return [method for method in methods if hasattr(method, "__temporal_activity_definition")]
