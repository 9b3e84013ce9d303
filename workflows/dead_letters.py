"""`ReplayDeadLetters`: gives selected dead letters another go, at a measured pace."""

from __future__ import annotations

from datetime import datetime, timedelta

from temporalio import workflow
from temporalio.common import RawValue
from temporalio.exceptions import ActivityError, ApplicationError

from workflows.decoding import NO_INPUT, decoded, invalid_input
from workflows.defects import raise_alert
from workflows.interface.codes import AlertKind, ErrorCode
from workflows.interface.dead_letters import (
    DeadLetterActivities,
    ReplayCourse,
    ReplayedPage,
    ReplayInput,
    ReplayPage,
    ReplayProgress,
    ReplayResult,
    ReplayStart,
)
from workflows.interface.names import Query, WorkflowType, replay_workflow_id
from workflows.interface.policies import MAINTENANCE_PRIORITY, MAINTENANCE_STEP, TASK_TIMEOUT

MOST_PER_PAGE = 100


@workflow.defn(name=WorkflowType.REPLAY_DEAD_LETTERS)
class ReplayDeadLetters:
    """One per replay id. Cancelled, it stops between two letters; the same command again goes on with what is left."""

    def __init__(self) -> None:
        self._request: ReplayInput | None = None
        self._course: ReplayCourse | None = None

    @workflow.run
    async def run(self, raw: RawValue = NO_INPUT) -> ReplayResult:
        """Pages through what was open when it began, oldest first.

        Raises:
            ApplicationError: INVALID_INPUT, or the defect that a step ended with.
        """
        request = _checked(decoded(raw, ReplayInput))
        self._request = request
        try:
            self._course = request.course or await self._begin(request)
            return await self._replay(request)
        except ActivityError as error:
            if isinstance(error.cause, ApplicationError) and error.cause.type == ErrorCode.DEFECT:
                await raise_alert(AlertKind.DEFECT, error.cause.message, MAINTENANCE_PRIORITY)
            raise

    @workflow.query(name=Query.PROGRESS)
    def progress(self) -> ReplayProgress:
        """How far it has come."""
        replay_id = workflow.info().workflow_id.partition("/")[2]
        if self._course is None:
            return ReplayProgress.model_validate({"replay_id": replay_id, "replayed": 0, "skipped": 0})
        kept = self._course.model_dump(by_alias=False, include={"replayed", "skipped", "total"})
        return ReplayProgress.model_validate({"replay_id": replay_id, **kept})

    async def _begin(self, request: ReplayInput) -> ReplayCourse:
        scope = await workflow.execute_activity_method(
            DeadLetterActivities.begin_replay,
            ReplayStart(replay_id=request.replay_id, filter=request.filter),
            **MAINTENANCE_STEP,
            priority=MAINTENANCE_PRIORITY,
            summary="count what is selected",
        )
        return ReplayCourse(selection=scope.selection, total=scope.total)

    async def _replay(self, request: ReplayInput) -> ReplayResult:
        pages = 0
        while True:
            began = workflow.now()
            page = await self._page(request)
            course = self._gone_on(page)
            self._describe(request, ended=page.next_after is None)
            if page.next_after is None:
                return ReplayResult(replay_id=request.replay_id, replayed=course.replayed, skipped=course.skipped)
            await _keep_pace(request, began, page)
            pages += 1
            if pages >= request.pages_per_run or workflow.info().is_continue_as_new_suggested():
                workflow.continue_as_new(request.model_copy(update={"course": course}), task_timeout=TASK_TIMEOUT)

    async def _page(self, request: ReplayInput) -> ReplayedPage:
        course = self._known()
        return await workflow.execute_activity_method(
            DeadLetterActivities.replay_letters,
            ReplayPage(
                replay_id=request.replay_id,
                selection=course.selection,
                after=course.after,
                most=min(request.per_second, MOST_PER_PAGE),
                by=request.by,
                note=request.note,
                force=request.force,
            ),
            **MAINTENANCE_STEP,
            priority=MAINTENANCE_PRIORITY,
            summary=f"{course.replayed + course.skipped:,} of {course.total:,} done",
        )

    def _gone_on(self, page: ReplayedPage) -> ReplayCourse:
        course = self._known()
        replayed, skipped = course.replayed + page.replayed, course.skipped + page.skipped
        if page.next_after is None:
            # With those that somebody else closed before their turn.
            skipped = max(course.total - replayed, 0)
        after = page.next_after or course.after
        self._course = course.model_copy(update={"after": after, "replayed": replayed, "skipped": skipped})
        return self._course

    def _known(self) -> ReplayCourse:
        if self._course is None:
            raise RuntimeError("the replay hasn't begun")
        return self._course

    def _describe(self, request: ReplayInput, *, ended: bool) -> None:
        course = self._known()
        workflow.set_current_details(
            f"{'Done' if ended else f'At most {request.per_second} a second'}, asked for by `{request.by}`.\n\n"
            "| selected | replayed | skipped |\n|---:|---:|---:|\n"
            f"| {course.total:,} | {course.replayed:,} | {course.skipped:,} |"
        )


async def _keep_pace(request: ReplayInput, began: datetime, page: ReplayedPage) -> None:
    """Waits until what the page replayed has taken as long as it may."""
    due = began + timedelta(seconds=page.replayed / request.per_second)
    left = due - workflow.now()
    if left > timedelta():
        await workflow.sleep(left, summary="keeps the pace")


def _checked(request: ReplayInput) -> ReplayInput:
    if workflow.info().workflow_id != replay_workflow_id(request.replay_id):
        raise invalid_input(f"the workflow id must be {replay_workflow_id(request.replay_id)}")
    return request
