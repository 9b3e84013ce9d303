"""What can go wrong for a caller, apart from a refused request.

RequestError             (workflows.interface.errors) the request can't be done as it is: a code and a sentence
InfrastructureError      (workflows.interface.errors) a server can't be reached
    UnavailableError     Temporal, Postgres or every worker doesn't answer: nothing is lost, ask again
SettingsError            a setting is missing or can't be used
"""

from __future__ import annotations

from workflows.interface.errors import InfrastructureError


class UnavailableError(InfrastructureError):
    """A server doesn't answer; the message says which, where, and what to do."""


class SettingsError(Exception):
    """A setting is missing or can't be used; the message names it."""
