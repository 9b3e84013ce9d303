"""Counts and times every job, by a worker interceptor: steps (activities) and workflows, once each, never per item."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import datetime
from typing import Any, NamedTuple

from opentelemetry.metrics import Counter, Histogram, Meter
from temporalio import activity, workflow
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory, FailureError, is_cancelled_exception
from temporalio.worker import (
    ActivityInboundInterceptor,
    ExecuteActivityInput,
    ExecuteWorkflowInput,
    Interceptor,
    WorkflowInboundInterceptor,
    WorkflowInterceptorClassInput,
)

from telemetry import catalogue

# From a step of a few milliseconds to a batch of hours.
DURATION_BOUNDS_S = (
    *(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 7200.0, 43200.0),
)
_OUTSIDE = "__transfers_job_metrics"
"""The name by which the sandbox finds its way out."""


class Verdict(NamedTuple):
    """How one go at a job ended."""

    outcome: str
    """succeeded, failed, postponed or cancelled."""
    over: bool
    """It won't be tried again."""
    code: str = ""
    """Why it failed."""


SUCCEEDED = Verdict("succeeded", True)


class Job(NamedTuple):
    """What is counted."""

    kind: str
    type: str
    queue: str
    priority: int

    @property
    def labels(self) -> dict[str, str]:
        """As every metric of jobs has them."""
        return {"job_kind": self.kind, "job_type": self.type, "queue": self.queue}


class JobMetrics(Interceptor):
    """The interceptor for `Worker(interceptors=…)`."""

    def __init__(self, meter: Meter) -> None:
        self._started = _counter(meter, catalogue.JOB_STARTED)
        self._retried = _counter(meter, catalogue.JOB_RETRIED)
        self._by_outcome = {
            "succeeded": _counter(meter, catalogue.JOB_SUCCEEDED),
            "failed": _counter(meter, catalogue.JOB_FAILED),
            "postponed": _counter(meter, catalogue.JOB_POSTPONED),
            "cancelled": _counter(meter, catalogue.JOB_CANCELLED),
        }
        self._queue_s = _histogram(meter, catalogue.JOB_QUEUE_DURATION)
        self._run_s = _histogram(meter, catalogue.JOB_RUN_DURATION)
        self._whole_s = _histogram(meter, catalogue.JOB_DURATION)

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:  # noqa: A002  # the SDK's name
        return _ActivityMeter(next, self)

    def workflow_interceptor_class(self, input: WorkflowInterceptorClassInput) -> type[WorkflowInboundInterceptor]:  # noqa: A002
        input.unsafe_extern_functions[_OUTSIDE] = lambda: self
        return _WorkflowMeter

    def begun(self, job: Job, waited_s: float) -> None:
        """A go at the job begins."""
        self._started.add(1, job.labels)
        self._queue_s.record(max(waited_s, 0.0), job.labels | {"priority": str(job.priority)})

    def ended(self, job: Job, verdict: Verdict, run_s: float, whole_s: float) -> None:
        """A go at the job has ended, `whole_s` after the job was first scheduled."""
        labels = job.labels
        failed = {"code": verdict.code} if verdict.outcome == "failed" else {}
        self._by_outcome[verdict.outcome].add(1, labels | failed)
        if verdict.outcome == "failed" and not verdict.over:
            self._retried.add(1, labels)
        labels["outcome"] = verdict.outcome
        self._run_s.record(max(run_s, 0.0), labels)
        if verdict.over:
            self._whole_s.record(max(whole_s, 0.0), labels)


class _ActivityMeter(ActivityInboundInterceptor):
    def __init__(self, inner: ActivityInboundInterceptor, metrics: JobMetrics) -> None:
        super().__init__(inner)
        self._metrics = metrics

    async def execute_activity(self, input: ExecuteActivityInput) -> Any:  # noqa: A002
        info = activity.info()
        job = Job("activity", info.activity_type, info.task_queue, info.priority.priority_key or 0)
        self._metrics.begun(job, (info.started_time - info.current_attempt_scheduled_time).total_seconds())
        begun_s = time.monotonic()
        verdict = SUCCEEDED
        try:
            return await super().execute_activity(input)
        except BaseException as error:
            verdict = activity_verdict(error, info)
            raise
        finally:
            whole_s = (datetime.now(info.scheduled_time.tzinfo) - info.scheduled_time).total_seconds()
            self._metrics.ended(job, verdict, time.monotonic() - begun_s, whole_s)


def activity_verdict(error: BaseException, info: activity.Info) -> Verdict:
    """What a step's error means for its counts. A benign one asks to be asked again: it's no failure."""
    if isinstance(error, asyncio.CancelledError) or is_cancelled_exception(error):
        return Verdict("cancelled", True)
    code = (error.type if isinstance(error, ApplicationError) else None) or type(error).__name__
    policy = info.retry_policy
    over = (
        (isinstance(error, ApplicationError) and error.non_retryable)
        or (policy is not None and 0 < policy.maximum_attempts <= info.attempt)
        or (policy is not None and code in (policy.non_retryable_error_types or ()))
    )
    if isinstance(error, ApplicationError) and error.category is ApplicationErrorCategory.BENIGN:
        return Verdict("postponed", over)
    return Verdict("failed", over, code)


class _WorkflowMeter(WorkflowInboundInterceptor):
    """Runs in the sandbox: asks the workflow's clock alone, and counts nothing that is only replayed."""

    async def execute_workflow(self, input: ExecuteWorkflowInput) -> Any:  # noqa: A002
        info = workflow.info()
        outside: Callable[[], JobMetrics] = workflow.extern_functions()[_OUTSIDE]
        job = Job("workflow", info.workflow_type, info.task_queue, info.priority.priority_key or 0)
        if not workflow.unsafe.is_replaying():
            outside().begun(job, (info.start_time - info.workflow_start_time).total_seconds())
        try:
            result = await super().execute_workflow(input)
        except Exception as error:
            verdict = workflow_verdict(error)
            if verdict:
                _tell(outside, job, verdict)
            raise
        except workflow.ContinueAsNewError:
            # The run has done its part; the batch goes on under another run.
            _tell(outside, job, SUCCEEDED)
            raise
        _tell(outside, job, SUCCEEDED)
        return result


def workflow_verdict(error: Exception) -> Verdict | None:
    """None: the error fails a task of the workflow, which is done again, and not the workflow."""
    if is_cancelled_exception(error):
        return Verdict("cancelled", True)
    if not isinstance(error, FailureError):
        return None
    cause = error if isinstance(error, ApplicationError) else error.__cause__
    code = cause.type if isinstance(cause, ApplicationError) else None
    return Verdict("failed", True, code or type(error).__name__)


def _tell(outside: Callable[[], JobMetrics], job: Job, verdict: Verdict) -> None:
    if workflow.unsafe.is_replaying():
        return
    info, now = workflow.info(), workflow.now()
    run_s = (now - info.start_time).total_seconds()
    outside().ended(job, verdict, run_s, (now - info.workflow_start_time).total_seconds())


def _counter(meter: Meter, metric: catalogue.Metric) -> Counter:
    return meter.create_counter(metric.name, metric.unit, metric.meaning)


def _histogram(meter: Meter, metric: catalogue.Metric) -> Histogram:
    return meter.create_histogram(
        metric.name, metric.unit, metric.meaning, explicit_bucket_boundaries_advisory=DURATION_BOUNDS_S
    )
