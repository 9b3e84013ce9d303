"""The notice board between observers, who read figures now and then, and exporters, who ask at any time."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from opentelemetry.metrics import CallbackOptions, Meter, Observation

from telemetry.catalogue import OBSERVER_LAST_SUCCESS_AGE, Kind, Metric

MAX_AGE_S = 120.0
"""Older figures are no longer told: a wrong figure is worse than none."""


class Figure(NamedTuple):
    """A metric's value for one set of labels."""

    metric: Metric
    value: float
    labels: Mapping[str, str] = {}


class _Notice(NamedTuple):
    put_at_s: float
    figures: Mapping[str, list[Observation]]


class Board:
    """The latest figures of each observer. Exporters ask from their own threads: each notice replaces one whole."""

    def __init__(self, meter: Meter, metrics: Iterable[Metric], clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._notices: dict[str, _Notice] = {}
        for metric in metrics:
            self._register(meter, metric)
        meter.create_observable_gauge(
            OBSERVER_LAST_SUCCESS_AGE.name,
            [self._ages],
            OBSERVER_LAST_SUCCESS_AGE.unit,
            OBSERVER_LAST_SUCCESS_AGE.meaning,
        )

    def begin(self, observer: str) -> None:
        """An observer begins without figures; its age counts from now."""
        self._notices[observer] = _Notice(self._clock(), {})

    def put(self, observer: str, figures: Iterable[Figure]) -> None:
        """Replaces all that the observer said before."""
        found: defaultdict[str, list[Observation]] = defaultdict(list)
        for figure in figures:
            found[figure.metric.name].append(Observation(figure.value, dict(figure.labels)))
        self._notices[observer] = _Notice(self._clock(), found)

    def _register(self, meter: Meter, metric: Metric) -> None:
        def read(_: CallbackOptions) -> Iterable[Observation]:
            return self._fresh(metric.name)

        if metric.kind is Kind.OBSERVED_COUNTER:
            meter.create_observable_counter(metric.name, [read], metric.unit, metric.meaning)
        else:
            meter.create_observable_gauge(metric.name, [read], metric.unit, metric.meaning)

    def _fresh(self, name: str) -> list[Observation]:
        now_s = self._clock()
        notices = [notice for notice in self._notices.copy().values() if now_s - notice.put_at_s <= MAX_AGE_S]
        return [observation for notice in notices for observation in notice.figures.get(name, ())]

    def _ages(self, _: CallbackOptions) -> Iterable[Observation]:
        now_s = self._clock()
        notices = self._notices.copy().items()
        return [Observation(now_s - notice.put_at_s, {"observer": name}) for name, notice in notices]
