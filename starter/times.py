"""Moments and spans of time as the command line takes them."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

import typer

_SPAN = re.compile(r"(?P<number>[0-9]{1,6}(?:\.[0-9]{1,3})?)(?P<unit>[smhd])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def moment(text: str) -> datetime:
    """A time in ISO 8601 with its zone.

    Raises:
        typer.BadParameter: it's none, or its zone is missing.
    """
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} is no time: write it like 2030-01-31T18:00:00Z") from error
    if parsed.tzinfo is None:
        raise typer.BadParameter(f"{text!r} has no time zone: end it with Z for UTC")
    return parsed


def span(text: str) -> timedelta:
    """A number with its unit: `90s`, `15m`, `36h`, `7d`.

    Raises:
        typer.BadParameter: it's none.
    """
    found = _SPAN.fullmatch(text)
    if found is None:
        raise typer.BadParameter(f"{text!r} is no span of time: write it like 90s, 15m, 36h or 7d")
    return timedelta(**{_UNITS[found["unit"]]: float(found["number"])})
