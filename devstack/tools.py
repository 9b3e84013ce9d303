"""Finds the programs of the stack, or builds them once per user and version: the Temporal CLI, anvil, solc."""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from devstack.errors import StackError

ROOT = Path(__file__).resolve().parent.parent
TEMPORAL_CLI_VERSION = "1.5.1"
TEMPORAL_MODULE = f"github.com/temporalio/cli/cmd/temporal@v{TEMPORAL_CLI_VERSION}"
# The oldest server with the priority and fairness that the queues use.
MINIMUM_TEMPORAL_SERVER = (1, 29, 1)
MINIMUM_ANVIL = (1, 7, 0)
_PLATFORMS = {"x86_64": "amd64", "AMD64": "amd64", "aarch64": "arm64", "arm64": "arm64"}


def cache_directory(environment: Mapping[str, str] = os.environ) -> Path:
    """Where built and downloaded tools are kept for this user (XDG base directories)."""
    home = environment.get("XDG_CACHE_HOME", "")
    base = Path(home) if Path(home).is_absolute() else Path.home() / ".cache"
    return base / "ticket-transfers"


def temporal_program() -> Path:
    """The `temporal` command: on PATH when its server is new enough, else built with Go into the cache."""
    found = shutil.which("temporal")
    if found and temporal_suffices(_version_text(found)):
        return Path(found)
    built = cache_directory() / f"temporal-{TEMPORAL_CLI_VERSION}" / "temporal"
    if not built.exists():
        _build_temporal(built)
    return built


def temporal_suffices(version_text: str) -> bool:
    """Whether `temporal --version` tells of a new enough server (a CLI built by Go has no version of its own)."""
    match = re.search(r"Server (\d+)\.(\d+)\.(\d+)", version_text)
    return tuple(map(int, match.groups())) >= MINIMUM_TEMPORAL_SERVER if match else False


def anvil_program() -> Path:
    """The `anvil` command: on PATH when new enough, else the platform binary of the npm package."""
    found = shutil.which("anvil")
    if found and anvil_suffices(_version_text(found)):
        return Path(found)
    name = f"anvil-{platform.system().lower()}-{_PLATFORMS.get(platform.machine(), platform.machine())}"
    program = node_modules() / "@foundry-rs" / name / "bin" / "anvil"
    if not program.exists():
        raise StackError(
            f"npm has no {name}: install Foundry's anvil {_dotted(MINIMUM_ANVIL)} or newer and put it on PATH"
        )
    return program


def anvil_suffices(version_text: str) -> bool:
    """Whether `anvil --version` is new enough."""
    match = re.search(r"(\d+)\.(\d+)\.(\d+)", version_text)
    return tuple(map(int, match.groups())) >= MINIMUM_ANVIL if match else False


def node_modules() -> Path:
    """The npm packages of package-lock.json (anvil, solc, OpenZeppelin), installed once per lock into the cache."""
    lock = (ROOT / "package-lock.json").read_bytes()
    folder = cache_directory() / f"npm-{hashlib.sha256(lock).hexdigest()[:16]}"
    if not folder.exists():
        _install_npm_packages(folder)
    return folder / "node_modules"


def _install_npm_packages(folder: Path) -> None:
    if not (shutil.which("node") and shutil.which("npm")):
        raise StackError("Node with npm is needed for anvil and solc: install Node 18 or newer, or put anvil on PATH")
    _say("installing anvil and solc with npm (once)")
    with _Fresh(folder) as place:
        for name in ("package.json", "package-lock.json", ".npmrc"):
            shutil.copy(ROOT / name, place)
        command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
        _run(command, "npm ci failed: is the npm registry reachable?", cwd=place)


def _build_temporal(program: Path) -> None:
    go = shutil.which("go")
    if go is None:
        need = _dotted(MINIMUM_TEMPORAL_SERVER)
        raise StackError(
            f"Temporal is missing: put `temporal` (server {need} or newer) on PATH, or install Go to have it built"
        )
    _say(f"building the Temporal CLI {TEMPORAL_CLI_VERSION} with Go (about 4 minutes, once)")
    with _Fresh(program.parent) as place:
        environment = {
            **os.environ,
            "GOBIN": str(place),
            "GOFLAGS": "",
            "CGO_ENABLED": os.environ.get("CGO_ENABLED", "0"),
        }
        _run(
            [go, "install", TEMPORAL_MODULE],
            "go install failed: Go 1.24 or newer and the Go module proxy are needed",
            environment,
        )


class _Fresh:
    """A folder that gets its name only when everything in it is done, so that a broken-off one is never used."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.parent.mkdir(parents=True, exist_ok=True)
        self._draft = Path(tempfile.mkdtemp(prefix=folder.name + ".", dir=folder.parent))

    def __enter__(self) -> Path:
        return self._draft

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        # Another process may have been quicker: its folder holds the same.
        if kind is None and not self._folder.exists():
            self._draft.chmod(0o755)
            self._draft.rename(self._folder)
        shutil.rmtree(self._draft, ignore_errors=True)


def _run(
    command: Sequence[str], failure: str, environment: Mapping[str, str] | None = None, cwd: Path | None = None
) -> None:
    done = subprocess.run(
        command, env=environment, cwd=cwd, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        last_lines = " | ".join((done.stderr or done.stdout).strip().splitlines()[-3:])
        raise StackError(f"{failure} It said: {last_lines}")


def _version_text(program: str) -> str:
    try:
        done = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout + done.stderr


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main() -> int:
    """Makes every tool ready; returns the exit code."""
    try:
        temporal_program()
        anvil_program()
        node_modules()
    except StackError as error:
        _say(f"error: {error}")
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
