"""The named SQL against the real schema."""

from __future__ import annotations

import pytest

import ledger.migrate
from ledger.migrate import ChangedMigrationError, OldServerError, migrate
from ledger.pool import Pool, transaction
from ledger.queries import GROUPS, load

STATEMENTS = [(group, name) for group in GROUPS for name in load(group)]


@pytest.mark.parametrize("group", GROUPS)
async def test_every_statement_is_prepared_against_the_schema(pool: Pool, group: str) -> None:
    """No statement names a table, column or type that isn't there."""
    async with pool.acquire() as connection:
        for name, text in load(group).items():
            statement = await connection.prepare(text)
            assert statement.get_query() == text, name


def test_names_of_statements_are_few_enough_to_list() -> None:
    """Every group has statements, and no name stands twice in a group."""
    assert {group for group, _ in STATEMENTS} == set(GROUPS)
    assert len(set(STATEMENTS)) == len(STATEMENTS)


async def test_migrating_again_changes_nothing(pool: Pool) -> None:
    """A worker that starts on a migrated database applies nothing."""
    assert await migrate(pool) == []


async def test_a_migration_changed_afterwards_is_refused(pool: Pool) -> None:
    """An applied file must not be edited: databases would differ."""
    async with transaction(pool) as connection:
        await connection.execute("UPDATE schema_migrations SET sha256 = 'another'")
    with pytest.raises(ChangedMigrationError, match=r"0001_initial\.sql was changed"):
        await migrate(pool)


async def test_an_old_server_is_refused(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server older than the schema needs is refused, with both versions."""
    monkeypatch.setattr(ledger.migrate, "OLDEST_SERVER", 99)
    with pytest.raises(OldServerError, match=r"PostgreSQL 99 or newer is needed, .*this server is \d\d$"):
        await migrate(pool)
