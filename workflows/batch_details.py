"""What the Web UI shows of a running batch: counts as a Markdown table."""

from __future__ import annotations

from workflows.interface.batch import BatchCounts, BatchPlan


def details_of(plan: BatchPlan, counts: BatchCounts, status: str, *, in_flight: int, waiting: int) -> str:
    """Current details in Markdown."""
    done = counts.completed + counts.failed + counts.cancelled
    share = 100 * done // counts.item_count if counts.item_count else 100
    return (
        f"**{status}** · {share} % of {counts.item_count:,} tickets of `{plan.from_user_id}` · "
        f"settlement `{plan.settlement}` · run {plan.run_no}\n\n"
        "| queued | processing | completed | failed | cancelled |\n|---:|---:|---:|---:|---:|\n"
        f"| {counts.queued:,} | {counts.processing:,} | {counts.completed:,} | {counts.failed:,} "
        f"| {counts.cancelled:,} |\n\n"
        f"{in_flight} slices of {plan.slice_size} in flight; {waiting} ranges wait for another try."
    )
