"""Rate limits of the whole cluster: their names, and which rates can be set."""

from __future__ import annotations

import math
from enum import StrEnum
from uuid import UUID

SLOWEST_PER_S, FASTEST_PER_S = 0.001, 1_000_000.0
_FORMS = "transfers, chain-transactions, chain-rpc, webhooks, webhooks/<subscription id>"


class RateName(StrEnum):
    """What can be limited, per second."""

    TRANSFERS = "transfers"
    """Items bound to a chain transaction, and single transfers."""
    CHAIN_TRANSACTIONS = "chain-transactions"
    """Chain transactions that are bound, whatever they carry."""
    CHAIN_RPC = "chain-rpc"
    """JSON-RPC calls; a batch of n calls counts n."""
    WEBHOOKS = "webhooks"
    """HTTP requests to each endpoint that has no limit of its own."""


def endpoint_rate_name(subscription_id: UUID) -> str:
    """The limit of one webhook endpoint alone; also the name of its bucket under the default limit."""
    return f"{RateName.WEBHOOKS}/{subscription_id}"


def endpoint_of(name: str) -> UUID | None:
    """The subscription whose limit it is; None for the others.

    Raises:
        ValueError: there is no such limit.
    """
    kind, slash, key = name.partition("/")
    if not slash and kind in list(RateName):
        return None
    try:
        subscription_id = UUID(key)
    except ValueError:
        subscription_id = None
    if kind != RateName.WEBHOOKS or subscription_id is None:
        raise ValueError(f"there is no rate limit {name!r}; there are {_FORMS}")
    return subscription_id


def checked_rate_name(name: str) -> str:
    """The name as it's stored.

    Raises:
        ValueError: there is no such limit.
    """
    subscription_id = endpoint_of(name)
    return name if subscription_id is None else endpoint_rate_name(subscription_id)


def checked_rate(text: str) -> float:
    """A rate per second.

    Raises:
        ValueError: it's no number, or out of bounds.
    """
    try:
        rate = float(text)
    except ValueError:
        rate = math.nan
    # NaN is neither below nor above a bound.
    if not SLOWEST_PER_S <= rate <= FASTEST_PER_S:
        allowed = f"a number from {SLOWEST_PER_S:g} to {FASTEST_PER_S:,.0f} per second"
        raise ValueError(f"{text!r} is no rate: {allowed} can be set; `clear` takes a limit away")
    return rate
