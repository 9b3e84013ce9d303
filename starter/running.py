"""Runs a command's coroutine and turns what goes wrong into one clear line and an exit code."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import typer

from starter.counting import counted
from starter.errors import SettingsError
from starter.exit_codes import ExitCode, exit_code_of
from starter.input_faults import InputFaultsError
from starter.printing import say
from workflows.interface.errors import InfrastructureError, RequestError


def run(command: Coroutine[Any, Any, ExitCode]) -> None:
    """Runs the command and ends the program with its exit code.

    Raises:
        typer.Exit: always, unless the code is 0.
    """
    code = _outcome(command)
    if code is not ExitCode.OK:
        raise typer.Exit(code)


def _outcome(command: Coroutine[Any, Any, ExitCode]) -> ExitCode:
    try:
        return asyncio.run(command)
    except InputFaultsError as error:
        say(f"error: {error.code}: nothing was written; the input has {counted(error.count, 'fault')}:\n{error}")
        return exit_code_of(error.code)
    except RequestError as error:
        say(f"error: {error.code}: {error}")
        return exit_code_of(error.code)
    except SettingsError as error:
        say(f"error: {error}")
        return ExitCode.BAD_INPUT
    except InfrastructureError as error:
        say(f"error: {error}")
        return ExitCode.FAILED
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED
