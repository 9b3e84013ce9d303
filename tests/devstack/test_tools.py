"""Finding tools: which versions are good enough, where the cache is, what a too old Python is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from devstack.bootstrap import BootstrapError, check_python
from devstack.tools import anvil_suffices, cache_directory, temporal_suffices


@pytest.mark.parametrize(
    ("text", "good"),
    [
        ("temporal version 0.0.0-DEV (Server 1.29.1, UI 2.42.1)", True),
        ("temporal version 1.6.0 (Server 1.31.0, UI 2.45.0)", True),
        ("temporal version 1.3.0 (Server 1.27.1, UI 2.36.0)", False),
        ("", False),
    ],
)
def test_the_temporal_server_version_decides(text: str, good: bool) -> None:
    """A CLI counts by the server inside it: one built by Go has no version of its own."""
    assert temporal_suffices(text) is good


@pytest.mark.parametrize(
    ("text", "good"), [("anvil Version: 1.7.1", True), ("anvil 0.3.0 (abc)", False), ("command not found", False)]
)
def test_an_old_anvil_is_not_used(text: str, good: bool) -> None:
    """An anvil on PATH is used when it's new enough only."""
    assert anvil_suffices(text) is good


def test_the_cache_follows_xdg(tmp_path: Path) -> None:
    """Tools are cached under XDG_CACHE_HOME when that is an absolute path, else under ~/.cache."""
    assert cache_directory({"XDG_CACHE_HOME": str(tmp_path)}) == tmp_path / "ticket-transfers"
    assert cache_directory({"XDG_CACHE_HOME": "relative"}) == Path.home() / ".cache" / "ticket-transfers"


def test_an_old_python_is_told_what_to_do() -> None:
    """An interpreter below 3.11 gets one line with the remedy."""
    with pytest.raises(BootstrapError, match=r"Python 3\.11 or newer is needed, but /usr/bin/python3 is 3\.9"):
        check_python((3, 9), "/usr/bin/python3")
    check_python((3, 11), "python3.11")
