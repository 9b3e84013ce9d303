"""docs/audit.md names what is there: rows in order, files, tests, and proofs that run on the real servers."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parent.parent.parent
# Rows per group, in the order of the page.
GROUPS = {"Queue": 5, "Batch": 11, "Webhooks": 8, "Chain": 8, "Schedules": 4, "Monitoring": 5, "Concurrency": 4}
GROUPS_AND_DASHBOARD = GROUPS | {"Dashboard": 1}
SERVERS = {"temporal", "postgres"}
_FILE = re.compile(r"`([\w./-]+(?:\.(?:py|sql|sol|yml)|/))[` ]")
_TEST = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")


class Row(NamedTuple):
    """One check."""

    group: str
    number: int
    cells: list[str]

    @property
    def tests(self) -> list[tuple[str, str]]:
        """Path and name of each test."""
        return _TEST.findall(self.cells[-1])


def rows() -> list[Row]:
    """The rows of the page's tables."""
    found, group = [], ""
    for line in (ROOT / "docs/audit.md").read_text().splitlines():
        if line.startswith("## "):
            group = line.removeprefix("## ")
        elif cells := re.match(r"\| (\d+) \|(.*)\|$", line):
            found.append(Row(group, int(cells[1]), [cell.strip() for cell in cells[2].split(" | ")]))
    return found


@cache
def functions(path: str) -> dict[str, ast.AsyncFunctionDef | ast.FunctionDef]:
    """The functions of a module by their names."""
    tree = ast.parse((ROOT / path).read_text())
    return {one.name: one for one in tree.body if isinstance(one, ast.AsyncFunctionDef | ast.FunctionDef)}


@cache
def borrowed(path: str) -> dict[str, tuple[str, str]]:
    """Fixtures that a conftest takes over from another one: `name = module.name`."""
    modules: dict[str, str] = {}
    found: dict[str, tuple[str, str]] = {}
    for node in ast.parse((ROOT / path).read_text()).body:
        match node:
            case ast.ImportFrom(module=str(package), names=names):
                modules |= {n.asname: f"{package}.{n.name}".replace(".", "/") + ".py" for n in names if n.asname}
            case ast.Assign(
                targets=[ast.Name(id=name)], value=ast.Attribute(value=ast.Name(id=module), attr=attribute)
            ):
                found[name] = (modules.get(module, ""), attribute)
    return {name: place for name, place in found.items() if place[0]}


def fixtures_used(path: str, name: str) -> set[str]:
    """All that a test's arguments and marks lead to."""
    wanted = [*arguments(path, name), *marked(path, name)]
    places = [path, f"{Path(path).parent}/conftest.py", "tests/conftest.py"]
    found: set[str] = set()
    while wanted:
        fixture = wanted.pop()
        if fixture in found:
            continue
        found.add(fixture)
        for place in (place for place in places if (ROOT / place).exists()):
            if fixture in functions(place):
                wanted += arguments(place, fixture)
                break
            if fixture in borrowed(place):
                wanted += arguments(*borrowed(place)[fixture])
                break
    return found


def marked(path: str, name: str) -> list[str]:
    """The fixtures that marks of the test or of its whole module ask for."""
    module = [ast.unparse(one) for one in ast.parse((ROOT / path).read_text()).body if isinstance(one, ast.Assign)]
    marks = [text for text in module if text.startswith("pytestmark")]
    marks += [ast.unparse(one) for one in functions(path)[name].decorator_list]
    return re.findall(r"'(\w+)'", " ".join(mark for mark in marks if "usefixtures" in mark))


def arguments(path: str, name: str) -> list[str]:
    """The names of a function's parameters."""
    return [one.arg for one in functions(path)[name].args.args]


def test_rows_are_numbered_in_order() -> None:
    """There are 45 rows in their groups and the dashboard's as the 46th, numbered from 1, without a gap."""
    assert [row.number for row in rows()] == list(range(1, 47))
    assert sum(GROUPS.values()) == 45
    assert [row.group for row in rows()] == [group for group, size in GROUPS_AND_DASHBOARD.items() for _ in range(size)]
    assert {len(row.cells) for row in rows()} == {4}
    assert all(all(row.cells) for row in rows())


@pytest.mark.parametrize("row", rows(), ids=lambda row: str(row.number))
def test_a_row_is_proved_on_the_real_servers(row: Row) -> None:
    """Its files and tests exist, and one of its tests at least runs on the real Temporal and the real Postgres."""
    for file in _FILE.findall(" ".join(row.cells)):
        assert (ROOT / file).exists(), file
    assert row.tests
    for path, name in row.tests:
        assert name.startswith("test_")
        assert name in functions(path), f"{path}::{name}"
    assert any(fixtures_used(path, name) >= SERVERS for path, name in row.tests)


def test_readme_leads_to_the_page() -> None:
    """The list of docs in the README has it."""
    assert "(docs/audit.md)" in (ROOT / "README.md").read_text()
