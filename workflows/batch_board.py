"""What people see of a batch: the query's answer, search attributes, and the Web UI's current details in Markdown."""

from __future__ import annotations

from temporalio import workflow
from temporalio.common import SearchAttributeKey

from workflows.interface.batch import BatchCounts, BatchPlan, BatchProgress, BatchResult
from workflows.interface.codes import BatchStatus, ItemOrder, TransferKind
from workflows.interface.names import MemoKey, SearchAttribute

_STATUS = SearchAttributeKey.for_keyword(SearchAttribute.BATCH_STATUS)
_FROM_USER_ID = SearchAttributeKey.for_keyword(SearchAttribute.FROM_USER_ID)
_ITEM_COUNT = SearchAttributeKey.for_int(SearchAttribute.ITEM_COUNT)
_FAILED_COUNT = SearchAttributeKey.for_int(SearchAttribute.FAILED_COUNT)


class BatchBoard:
    """Status and counts, kept where people look."""

    def __init__(self) -> None:
        self.status = BatchStatus.QUEUED
        self.counts = BatchCounts()
        self._plan: BatchPlan | None = None

    @property
    def all_ended(self) -> bool:
        """Whether no item is queued or in work."""
        return not self.counts.queued and not self.counts.processing

    def introduce(self, plan: BatchPlan) -> None:
        """A batch that was opened just now."""
        workflow.upsert_memo({MemoKey.REQUEST_SHA256: plan.request_sha256})
        workflow.upsert_search_attributes(
            [_FROM_USER_ID.value_set(plan.from_user_id), _ITEM_COUNT.value_set(plan.item_count)]
        )
        self.take_up(plan, plan.counts, plan.status)

    def take_up(self, plan: BatchPlan, counts: BatchCounts, status: BatchStatus) -> None:
        """A batch that goes on."""
        self._plan, self.counts = plan, counts
        self.set_status(status)

    def set_status(self, status: BatchStatus) -> None:
        """A new status, also as a search attribute."""
        self.status = status
        workflow.upsert_search_attributes([_STATUS.value_set(status)])
        self.show(in_flight=0, waiting=0)

    def note(self, counts: BatchCounts) -> None:
        """Counts of a step's result. Results may come out of order: the furthest is kept."""
        if _progress_of(counts) >= _progress_of(self.counts):
            self.counts = counts

    def close(self, result: BatchResult) -> None:
        """The run's end."""
        workflow.upsert_search_attributes([_FAILED_COUNT.value_set(result.failed)])
        self.set_status(result.status)

    def progress(self) -> BatchProgress:
        """Where the items stand."""
        batch_id = workflow.info().workflow_id.partition("/")[2]
        counts = self.counts.model_dump(by_alias=False)
        return BatchProgress.model_validate({"batch_id": batch_id, "status": self.status, **counts})

    def show(self, *, in_flight: int, waiting: int) -> None:
        """Writes the current details: slices in flight, and ranges that wait for another try."""
        if self._plan is not None:
            workflow.set_current_details(self._details(self._plan, in_flight, waiting))

    def _details(self, plan: BatchPlan, in_flight: int, waiting: int) -> str:
        counts = self.counts
        done = counts.completed + counts.failed + counts.cancelled
        share = 100 * done // counts.item_count if counts.item_count else 100
        return (
            f"**{self.status}** · {share} % of {counts.item_count:,} tickets of `{plan.from_user_id}` · "
            f"{_options_of(plan)} · run {plan.run_no}\n\n"
            "| queued | processing | completed | failed | cancelled |\n|---:|---:|---:|---:|---:|\n"
            f"| {counts.queued:,} | {counts.processing:,} | {counts.completed:,} | {counts.failed:,} "
            f"| {counts.cancelled:,} |\n\n"
            f"{in_flight} slices of {plan.slice_size} in flight; {waiting} ranges wait for another try."
        )


def _options_of(plan: BatchPlan) -> str:
    chosen = [f"settlement `{plan.settlement}`"]
    if plan.kind is not TransferKind.DIRECT:
        chosen.append(f"kind `{plan.kind}`")
    if plan.order is not ItemOrder.PARALLEL:
        chosen.append(f"order `{plan.order}`")
    return ", ".join(chosen)


def _progress_of(counts: BatchCounts) -> tuple[int, int]:
    return counts.completed + counts.failed + counts.cancelled, counts.processing
