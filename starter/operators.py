"""Who types a command, for what is kept of it."""

from __future__ import annotations

import getpass

from workflows.interface.codes import ErrorCode
from workflows.interface.errors import RequestError


def user_of_system() -> str:
    """The system's user name.

    Raises:
        RequestError: INVALID_INPUT, there is none (in a container without a user database, say).
    """
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError) as error:
        raise RequestError(ErrorCode.INVALID_INPUT, "the system knows no user name: say who with --by") from error
