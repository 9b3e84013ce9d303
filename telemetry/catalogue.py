"""Every metric of the service's own, in one table: name, kind, unit, labels and meaning."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

_JOB = ("job_kind", "job_type", "queue")
_QUEUE = ("queue", "task_kind", "priority")


class Kind(StrEnum):
    """How a metric behaves."""

    COUNTER = "counter"
    HISTOGRAM = "histogram"
    GAUGE = "gauge"
    """Observed: the value is looked up when somebody asks for it."""
    OBSERVED_COUNTER = "observed counter"


class Metric(NamedTuple):
    """One metric; names and units follow OpenTelemetry's conventions."""

    name: str
    kind: Kind
    unit: str
    labels: tuple[str, ...]
    meaning: str

    @property
    def prometheus_name(self) -> str:
        """The name at the Prometheus endpoint; a histogram's has `_bucket`, `_sum` and `_count` behind it."""
        unit = _PROMETHEUS_UNITS.get(self.unit, "")
        total = "total" if self.kind in (Kind.COUNTER, Kind.OBSERVED_COUNTER) else ""
        return "_".join(part for part in (self.name.replace(".", "_"), unit, total) if part)


# An annotation in braces is no unit: Prometheus' names leave it out.
_PROMETHEUS_UNITS = {"s": "seconds", "gwei": "gwei", "{task}/s": "per_second"}

# Jobs: steps (activities) and workflows. Told by the worker that runs them.
JOB_STARTED = Metric("transfers.job.started", Kind.COUNTER, "{job}", _JOB, "goes at a step, or workflow runs, begun")
JOB_SUCCEEDED = Metric("transfers.job.succeeded", Kind.COUNTER, "{job}", _JOB, "of them ended well")
JOB_FAILED = Metric(
    "transfers.job.failed",
    Kind.COUNTER,
    "{job}",
    (*_JOB, "code"),
    "of them ended in an error; neither a poll that is to be asked again nor a cancelled one",
)
JOB_RETRIED = Metric("transfers.job.retried", Kind.COUNTER, "{job}", _JOB, "of the failed: tried again by Temporal")
JOB_POSTPONED = Metric("transfers.job.postponed", Kind.COUNTER, "{job}", _JOB, "too early, or refused: no failure")
JOB_CANCELLED = Metric("transfers.job.cancelled", Kind.COUNTER, "{job}", _JOB, "cancelled, also by a worker that stops")
JOB_QUEUE_DURATION = Metric(
    "transfers.job.queue.duration", Kind.HISTOGRAM, "s", (*_JOB, "priority"), "wait from scheduled to started"
)
JOB_RUN_DURATION = Metric("transfers.job.run.duration", Kind.HISTOGRAM, "s", (*_JOB, "outcome"), "one go at it")
JOB_DURATION = Metric(
    "transfers.job.duration",
    Kind.HISTOGRAM,
    "s",
    (*_JOB, "outcome"),
    "end to end: from first scheduled to ended for good, all its goes and waits included",
)

# Webhooks, told by the worker that sends.
WEBHOOK_REQUEST_DURATION = Metric(
    "transfers.webhook.request.duration",
    Kind.HISTOGRAM,
    "s",
    ("outcome", "error"),
    "one request; outcome is delivered or failed, so its counts give the success rate",
)
WEBHOOK_DELIVERIES = Metric(
    "transfers.webhook.deliveries",
    Kind.COUNTER,
    "{delivery}",
    ("status", "attempts"),
    "deliveries that ended, by the number of attempts they took",
)

# The pool of database connections of each worker.
POOL_COUNT = Metric(
    "db.client.connection.count",
    Kind.GAUGE,
    "{connection}",
    ("db_client_connection_pool_name", "state"),
    "open connections to Postgres, idle or used",
)
POOL_MAX = Metric(
    "db.client.connection.max", Kind.GAUGE, "{connection}", ("db_client_connection_pool_name",), "most it may open"
)

# The whole cluster's state, observed alike by each worker on the queue `maintenance`.
QUEUE_DEPTH = Metric("transfers.queue.depth", Kind.GAUGE, "{task}", _QUEUE, "tasks that wait for a worker")
QUEUE_OLDEST_AGE = Metric("transfers.queue.oldest_age", Kind.GAUGE, "s", _QUEUE, "how long the first of them waits")
QUEUE_ADD_RATE = Metric("transfers.queue.add_rate", Kind.GAUGE, "{task}/s", _QUEUE, "tasks added, mean of 30 s")
QUEUE_DISPATCH_RATE = Metric(
    "transfers.queue.dispatch_rate", Kind.GAUGE, "{task}/s", _QUEUE, "tasks handed to workers, mean of 30 s"
)
WORKERS = Metric(
    "transfers.workers", Kind.GAUGE, "{worker}", ("queue", "task_kind"), "workers that asked for tasks of late"
)
BATCH_OPEN = Metric("transfers.batch.open", Kind.GAUGE, "{batch}", ("status",), "batches that haven't ended")
BATCH_ITEMS = Metric("transfers.batch.items", Kind.GAUGE, "{item}", ("status",), "items of those batches")
TRANSFER_LIVE = Metric(
    "transfers.transfer.live",
    Kind.GAUGE,
    "{transfer}",
    ("status",),
    "transfers that lock a ticket; ACCEPTED are the items in work that aren't on their way to the chain, PENDING gifts",
)
LANE_IN_FLIGHT = Metric("transfers.lane.in_flight", Kind.GAUGE, "{transaction}", ("signer",), "open nonces")
LANE_LIMIT = Metric("transfers.lane.limit", Kind.GAUGE, "{transaction}", ("signer",), "most it may have open")
LANE_HALTED = Metric("transfers.lane.halted", Kind.GAUGE, "{lane}", ("signer",), "1: takes nothing more")
LANE_HEAD_NONCE_AGE = Metric(
    "transfers.lane.head_nonce_age", Kind.GAUGE, "s", ("signer",), "age of its lowest open nonce; 0 without one"
)
LANE_BALANCE = Metric("transfers.lane.balance", Kind.GAUGE, "gwei", ("signer",), "what the signer has for gas")
GAS_PER_TICKET = Metric(
    "transfers.chain.gas_per_ticket", Kind.GAUGE, "{gas}", ("settlement",), "of transactions settled in 5 minutes"
)
FEE_PER_TICKET = Metric(
    "transfers.chain.fee_per_ticket", Kind.GAUGE, "gwei", ("settlement",), "of transactions settled in 5 minutes"
)
CHAIN_HEAD_BLOCK = Metric("transfers.chain.head_block", Kind.GAUGE, "{block}", (), "number of the node's latest block")
CHAIN_HEAD_AGE = Metric("transfers.chain.head_age", Kind.GAUGE, "s", (), "time since that block was made")
CHAIN_BLOCKS_BEHIND = Metric(
    "transfers.chain.blocks_behind",
    Kind.GAUGE,
    "{block}",
    (),
    "blocks the node should have seen since, at the pace of its last 20",
)
WEBHOOK_ENDPOINTS = Metric(
    "transfers.webhook.endpoints", Kind.GAUGE, "{endpoint}", ("state",), "subscriptions: active, failing or disabled"
)
WEBHOOK_OLDEST_DUE_AGE = Metric(
    "transfers.webhook.oldest_due_age", Kind.GAUGE, "s", (), "how long the longest due delivery waits"
)
DEAD_LETTERS_OPEN = Metric(
    "transfers.dead_letters.open", Kind.GAUGE, "{letter}", ("kind",), "that nobody replayed or discarded"
)
DEAD_LETTERS_BURIED = Metric(
    "transfers.dead_letters.buried", Kind.OBSERVED_COUNTER, "{letter}", ("kind",), "buried since this worker began"
)
SCHEDULE_LAST_SUCCESS_AGE = Metric(
    "transfers.schedule.last_success_age",
    Kind.GAUGE,
    "s",
    ("schedule",),
    "time since a run of it ended well; since it was made where none ever did",
)
SCHEDULE_PAUSED = Metric("transfers.schedule.paused", Kind.GAUGE, "{schedule}", ("schedule",), "1: somebody paused it")
ALERTS_OPEN = Metric("transfers.alerts.open", Kind.GAUGE, "{alert}", ("kind",), "open alerts")
OBSERVER_LAST_SUCCESS_AGE = Metric(
    "transfers.observer.last_success_age",
    Kind.GAUGE,
    "s",
    ("observer",),
    "how old the figures of an observer are; after 2 minutes they are no longer told",
)

METRICS: tuple[Metric, ...] = tuple(value for value in dict(globals()).values() if isinstance(value, Metric))
"""All of them."""
