"""Pause and cancel of a batch: what people want, what the database has, and the way from one to the other."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from temporalio import workflow

from workflows.interface.codes import BatchStatus


class BatchControls:
    """What is wanted changes at once, by signals; what is in effect follows, step by step, in the order wanted."""

    def __init__(self) -> None:
        self.paused = False
        """Whether the database forbids new bindings, as far as this workflow has seen to it."""
        self.pause_wanted = False
        self.cancel_wanted = False
        self.cancel_reason: str | None = None
        self.cut_made = False
        """Whether the database has the cancel, and what wasn't bound then is cancelled."""
        self.leaving = False
        """The run has no more work: what is wanted is still carried out, then nothing more is waited for."""
        self._word: bool | None = None
        """The last pause or resume, which may come before this run has read what it was handed, and is newer."""

    @property
    def status(self) -> BatchStatus:
        """Of a batch that hasn't ended."""
        return BatchStatus.PAUSED if self.paused else BatchStatus.PROCESSING

    def pause(self) -> None:
        """Nothing new may be bound."""
        self.pause_wanted = self._word = True

    def resume(self) -> None:
        """All may go on."""
        self.pause_wanted = self._word = False

    def cancel(self, reason: str | None = None) -> None:
        """Nothing new may be bound, for good. The first reason stands."""
        self.cancel_reason = self.cancel_reason or reason
        self.cancel_wanted = True

    def take_up(self, *, paused: bool, pause_wanted: bool) -> None:
        """What the database says, or the run before handed over."""
        self.paused = paused
        self.pause_wanted = pause_wanted if self._word is None else self._word

    def go_on(self) -> bool:
        """Whether slices may go on: the batch runs, or is cancelled and has only to end."""
        return self.cancel_wanted or not (self.paused or self.pause_wanted)

    async def obey(self, cancel: Callable[[], Awaitable[None]], pause: Callable[[bool], Awaitable[None]]) -> None:
        """Has pause, resume and cancel carried to the database, where they take effect, until the run leaves."""
        while True:
            await workflow.wait_condition(lambda: self.leaving or self._cut_is_due() or self._pause_is_due())
            if self._cut_is_due():
                await cancel()
                self.cut_made = True
            elif self._pause_is_due():
                await pause(self.pause_wanted)
            else:
                return

    def _cut_is_due(self) -> bool:
        return self.cancel_wanted and not self.cut_made

    def _pause_is_due(self) -> bool:
        return not self.cancel_wanted and self.pause_wanted != self.paused
