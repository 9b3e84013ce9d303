"""Dead letters: what is selected of them, the messages of `ReplayDeadLetters`, and the steps it may ask for."""

from __future__ import annotations

from abc import ABC, abstractmethod
from datetime import datetime
from typing import Annotated
from uuid import UUID

from pydantic import AfterValidator, Field, model_validator
from temporalio import activity

from workflows.interface.codes import DeadLetterKind
from workflows.interface.message import Message, Request

MAX_LETTER_IDS = 1_000
"""Letters a selection may name one by one; more are selected by what they have in common."""
MAX_NOTE_CHARACTERS = 500
MOST_PER_SECOND = 1_000
DEFAULT_PER_SECOND = 50
ZERO_ID, LAST_ID = UUID(int=0), UUID(int=(1 << 128) - 1)
"""Before and behind every letter."""


def plain_person(text: str) -> str:
    """Who acts, without white space around it.

    Raises:
        ValueError: empty, over 200 bytes of UTF-8, or with control characters.
    """
    stripped = text.strip()
    if not stripped or not stripped.isprintable() or len(stripped.encode(errors="replace")) > 200:
        raise ValueError("must be 1 to 200 bytes of printable text")
    return stripped


def plain_note(text: str) -> str:
    """A note as the database can hold it and a terminal can show it.

    Raises:
        ValueError: control characters.
    """
    if not text.isprintable():
        raise ValueError("must not hold control characters")
    return text


Person = Annotated[str, AfterValidator(plain_person)]
Note = Annotated[str, Field(max_length=MAX_NOTE_CHARACTERS), AfterValidator(plain_note)]
AgeS = Annotated[float, Field(ge=0, le=10 * 365 * 86_400)]


class LetterFilter(Request):
    """Which open letters are meant: all fields together; those left out don't matter."""

    dead_letter_ids: Annotated[tuple[UUID, ...], Field(min_length=1, max_length=MAX_LETTER_IDS)] | None = None
    kind: DeadLetterKind | None = None
    code: Annotated[str, Field(max_length=100), AfterValidator(plain_note)] | None = None
    batch_id: UUID | None = None
    subscription_id: UUID | None = None
    older_than_s: AgeS | None = None
    """Seconds since the last failure, at least."""
    newer_than_s: AgeS | None = None
    """Seconds since the last failure, less than."""

    @model_validator(mode="after")
    def _satisfiable(self) -> LetterFilter:
        if self.older_than_s is not None and self.newer_than_s is not None and self.older_than_s >= self.newer_than_s:
            raise ValueError("nothing is older than olderThanS and newer than newerThanS at once")
        return self


class LetterSelection(Message):
    """A filter at one moment: its ages are times by the database's clock, so later letters don't belong to it."""

    dead_letter_ids: tuple[UUID, ...] | None = None
    kind: DeadLetterKind | None = None
    code: str | None = None
    batch_id: UUID | None = None
    subscription_id: UUID | None = None
    failed_by: datetime
    failed_after: datetime | None = None


class ReplayCourse(Message):
    """How far a replay has come."""

    selection: LetterSelection
    total: int
    """Open letters of the selection when it began, with those that an earlier run of the same replay has done."""
    after: UUID = ZERO_ID
    replayed: int = 0
    skipped: int = 0


class ReplayInput(Request):
    """Input of `ReplayDeadLetters`."""

    replay_id: UUID
    filter: LetterFilter = LetterFilter()
    by: Person
    """Who asks for it: kept with each letter."""
    note: Note | None = None
    force: bool = False
    """Also transfers whose code says that trying again unchanged can't help."""
    per_second: Annotated[int, Field(ge=1, le=MOST_PER_SECOND)] = DEFAULT_PER_SECOND
    pages_per_run: Annotated[int, Field(ge=1)] = 200
    """Continue-as-new by then, at about ten history events each, even if the server doesn't suggest it."""
    course: ReplayCourse | None = None
    """Set by the workflow itself when it continues as new; callers leave it out."""


class ReplayResult(Message):
    """Result of `ReplayDeadLetters`."""

    replay_id: UUID
    replayed: int
    skipped: int
    """Selected, and still open or closed by somebody else."""


class ReplayProgress(ReplayResult):
    """Answer to the query `progress`."""

    total: int | None = None
    """As counted when it began; None before."""


class ReplayStart(Message):
    """Input of the step that fixes what a replay is about."""

    replay_id: UUID
    filter: LetterFilter


class ReplayScope(Message):
    """What a replay is about, counted."""

    selection: LetterSelection
    total: int


class ReplayPage(Message):
    """Input of the step that replays the next letters."""

    replay_id: UUID
    selection: LetterSelection
    after: UUID
    most: int
    by: str
    note: str | None = None
    force: bool = False


class ReplayedPage(Message):
    """What became of a page."""

    next_after: UUID | None
    """Where the next page begins; None: there is none."""
    replayed: int = 0
    skipped: int = 0


class DeadLetterActivities(ABC):
    """Steps of the queue `maintenance` about dead letters."""

    @activity.defn(name="begin_replay")
    @abstractmethod
    async def begin_replay(self, start: ReplayStart) -> ReplayScope:
        """Fixes what is selected at this moment, and counts it."""

    @activity.defn(name="replay_letters")
    @abstractmethod
    async def replay_letters(self, page: ReplayPage) -> ReplayedPage:
        """Gives the next letters another go and marks them; the same again does none twice."""
