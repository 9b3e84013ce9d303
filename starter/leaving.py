"""Leaves a process that spoke to Temporal.

The SDK's threads may still hold the interpreter when it shuts down: a command that ends within milliseconds of its last
call then dies now and then with "PyGILState_Release: thread state must be current" (one in six of the shortest ones).
"""

from __future__ import annotations

import logging
import os
import sys
from typing import NoReturn


def leave(code: int) -> NoReturn:
    """Ends the process at once, with its output flushed and without the interpreter's shutdown."""
    logging.shutdown()
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except (BrokenPipeError, ValueError):
        code = code or 1
    os._exit(code)
