"""The scripts under examples/ explain themselves, and fail in words."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
NOWHERE = "127.0.0.1:1"


def start_batch(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs examples/start_batch.py where no Temporal is."""
    return example("start_batch.py", *arguments)


def example(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs a script where no Temporal is."""
    return subprocess.run(
        [sys.executable, ROOT / "examples" / name, *arguments],
        env={**os.environ, "TEMPORAL_ADDRESS": NOWHERE},
        capture_output=True,
        text=True,
        check=False,
    )


def test_help_names_the_arguments() -> None:
    """--help says what to give, and where the address comes from."""
    ended = start_batch("--help")
    assert ended.returncode == 0
    for word in ("sender", "recipient", "ticket", "TEMPORAL_ADDRESS"):
        assert word in ended.stdout


@pytest.mark.parametrize(
    ("ticket", "said"),
    [("17", f"Temporal at {NOWHERE} doesn't answer"), ("x", "ticket_id: must be a whole number")],
)
def test_a_failure_is_one_line(ticket: str, said: str) -> None:
    """Without Temporal, or with a wrong ticket, the script ends with 1 and one line."""
    ended = start_batch("alice", "bob", ticket)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.startswith("error: ")
    assert said in ended.stderr
    assert ended.stderr.count("\n") == 1


def test_the_gift_explains_itself() -> None:
    """--help of the gift's script names its arguments, and without Temporal it ends with 1 and one line."""
    told = example("gift.py", "--help")
    assert told.returncode == 0
    for word in ("sender", "recipient", "ticket", "--decline", "TEMPORAL_ADDRESS"):
        assert word in told.stdout
    ended = example("gift.py", "alice", "bob", "17")
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr == f"error: Temporal at {NOWHERE} doesn't answer: start it, or set TEMPORAL_ADDRESS\n"
