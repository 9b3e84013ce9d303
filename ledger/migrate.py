"""Brings the schema up to date: numbered SQL files, each applied once, in order, under one lock."""

from __future__ import annotations

import hashlib
from importlib.resources import files

from ledger.pool import Connection, Pool, transaction

MIGRATION_TIMEOUT_S = 6 * 3600.0
"""An index of a big table takes its time; the pool's limit is for statements of steps."""
OLDEST_SERVER = 18
"""The major version that brought `uuidv7()`."""
_LOCK_KEY = 7_304_911
"""Any constant: two processes that migrate at once take turns."""


class ChangedMigrationError(RuntimeError):
    """A migration that was applied has another text now; add a new file instead of changing an old one."""


class OldServerError(RuntimeError):
    """The server lacks what the schema needs."""


async def migrate(pool: Pool) -> list[str]:
    """Applies what is missing and returns the names of the files applied.

    Raises:
        ChangedMigrationError: an applied file was changed afterwards.
        OldServerError: the server is older than PostgreSQL 18.
    """
    async with transaction(pool) as connection:
        _check_version(connection.get_server_version().major)
        await connection.execute("SELECT pg_advisory_xact_lock($1)", _LOCK_KEY)
        await connection.execute(
            "CREATE TABLE IF NOT EXISTS schema_migrations"
            " (name text PRIMARY KEY, sha256 text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())"
        )
        rows = await connection.fetch("SELECT name, sha256 FROM schema_migrations")
        done: dict[str, str] = {row["name"]: row["sha256"] for row in rows}
        return [name for name, text in _migrations() if await _apply(connection, name, text, done)]


async def missing_migrations(pool: Pool) -> list[str]:
    """The files that aren't applied yet.

    Raises:
        asyncpg.UndefinedTableError: none ever was.
    """
    done = {row["name"] for row in await pool.fetch("SELECT name FROM schema_migrations")}
    return [name for name, _ in _migrations() if name not in done]


def _check_version(major: int) -> None:
    if major < OLDEST_SERVER:
        raise OldServerError(f"PostgreSQL {OLDEST_SERVER} or newer is needed, for uuidv7(); this server is {major}")


def _migrations() -> list[tuple[str, str]]:
    folder = files("ledger") / "migrations"
    return sorted((path.name, path.read_text()) for path in folder.iterdir() if path.name.endswith(".sql"))


async def _apply(connection: Connection, name: str, text: str, done: dict[str, str]) -> bool:
    digest = hashlib.sha256(text.encode()).hexdigest()
    if name in done:
        if done[name] != digest:
            raise ChangedMigrationError(f"{name} was changed after it had been applied")
        return False
    await connection.execute(text, timeout=MIGRATION_TIMEOUT_S)
    await connection.execute("INSERT INTO schema_migrations (name, sha256) VALUES ($1, $2)", name, digest)
    return True
