"""The command line as a whole: help, settings, and servers that don't answer."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from uuid import uuid4

import pytest

from starter.exit_codes import ExitCode
from tests.servers import Postgres
from tests.starter.commands import Transfers
from tests.starter.conftest import SENDER, Service

CSV = b"ticket_id,to\n17,bob\n"
NOWHERE = "127.0.0.1:1"


@pytest.fixture
def unset(tmp_path: Path) -> Transfers:
    """The command without any setting."""
    return Transfers(tmp_path, {})


async def test_help_names_commands_and_exit_codes(unset: Transfers) -> None:
    """The help of the whole lists every group, those of other rooms too, and what each exit code means."""
    ended = await unset("--help")
    assert ended.code == 0
    for word in ("batch", "webhooks", "dev", "DATABASE_URL", ".devstack/env"):
        assert word in ended.out
    for code in ExitCode:
        assert f"{code.value}  {code.meaning}" in ended.out


async def test_a_closed_standard_input_is_one_line(unset: Transfers) -> None:
    """`batch start - <&-` says that there is nothing to read from."""
    command = f"{sys.executable} -m starter batch start - --from {SENDER} <&-"
    process = await asyncio.create_subprocess_shell(command, cwd=unset.folder, stderr=asyncio.subprocess.PIPE)
    _, err = await process.communicate()
    assert process.returncode == 2
    assert err.decode().splitlines() == [
        "error: INVALID_INPUT: standard input is closed: pipe the items in, or name a file"
    ]


async def test_help_of_start_shows_an_example(unset: Transfers) -> None:
    """The help of `batch start` shows both ways in."""
    ended = await unset("batch", "start", "--help")
    assert "transfers batch start season.csv --from alice --watch" in ended.out
    assert "batch start - --from alice" in ended.out


@pytest.mark.parametrize("arguments", [("nonsense",), ("batch", "nonsense"), ("batch", "show"), ("--nonsense",)])
async def test_unknown_words_are_bad_usage(unset: Transfers, arguments: tuple[str, ...]) -> None:
    """An unknown command or option and a missing argument end with 2."""
    ended = await unset(*arguments)
    assert ended.code == 2
    assert "Traceback" not in ended.err


@pytest.mark.parametrize("arguments", [("batch", "list"), ("batch", "show", str(uuid4()))])
async def test_without_settings_the_remedy_is_told(unset: Transfers, arguments: tuple[str, ...]) -> None:
    """Without DATABASE_URL the command names it and ends with 2."""
    ended = await unset(*arguments)
    assert ended.code == 2
    assert "DATABASE_URL isn't set: run `make up`" in ended.err


@pytest.mark.parametrize(
    ("settings", "told", "code"),
    [
        ({"DATABASE_URL": f"postgresql://u:hidden@{NOWHERE}/x"}, f"Postgres at {NOWHERE} (from DATABASE_URL)", 1),
        ({"DATABASE_URL": "nonsense"}, "DATABASE_URL can't be used", 2),
        ({"TEMPORAL_ADDRESS": NOWHERE}, f"Temporal at {NOWHERE} (from TEMPORAL_ADDRESS) doesn't answer", 1),
    ],
)
async def test_a_server_that_is_down_is_one_line(
    transfers: Transfers, service: Service, settings: dict[str, str], told: str, code: int
) -> None:
    """The line says which server, where from and what to do; no traceback, no password, nothing written."""
    ended = await transfers("batch", "start", "-", "--from", SENDER, stdin=CSV, **settings)
    assert (ended.code, ended.out) == (code, "")
    assert told in ended.err
    assert len(ended.err.splitlines()) == 1
    assert "hidden" not in ended.err
    assert await service.pool.fetchval("SELECT count(*) FROM batch_transfers") == 0


async def test_a_database_without_tables_is_one_line(unset: Transfers, postgres: Postgres) -> None:
    """A database that no worker has migrated yet is named as that."""
    ended = await unset("batch", "list", DATABASE_URL=postgres.url("postgres"))
    assert ended.code == 1
    assert "has no tables of this service" in ended.err
    assert len(ended.err.splitlines()) == 1


async def test_the_development_stack_is_found(unset: Transfers, service: Service) -> None:
    """In the folder of `make up` no variable is needed; an error tells that the setting came from there."""
    (unset.folder / ".devstack").mkdir()
    path = unset.folder / ".devstack" / "env"
    path.write_text("".join(f"{name}={value}\n" for name, value in service.environment.items()))
    started = await unset("batch", "start", "-", "--from", SENDER, "--json", stdin=CSV)
    assert (started.code, started.err) == (0, "")
    assert await service.pool.fetchval("SELECT item_count FROM batch_transfers") == 1
    path.write_text(f"DATABASE_URL=postgresql://u@{NOWHERE}/x\n")
    refused = await unset("batch", "list")
    assert (refused.code, "from .devstack/env" in refused.err) == (1, True)


@pytest.mark.parametrize(
    "arguments",
    [
        ("transfer", "start", "--from", "alice", "--ticket", "1", "--to", "bob"),
        ("gift", "accept", "6f1c1d52-8c0e-4d7b-9a1e-2f5f1f1a7c10", "--user", "bob"),
        ("schedules", "list"),
    ],
)
async def test_a_namespace_that_isnt_there_is_one_line(transfers: Transfers, arguments: tuple[str, ...]) -> None:
    """It isn't taken for a transfer, a gift or a schedule that isn't there."""
    ended = await transfers(*arguments, TEMPORAL_NAMESPACE="nowhere")
    assert ended.code == 1
    assert "there is no namespace 'nowhere': create it or correct TEMPORAL_NAMESPACE" in ended.err
    assert ended.err.count("\n") == 1
