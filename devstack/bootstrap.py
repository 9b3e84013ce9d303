"""Makes .venv from the hashed lock: run by make with whatever python3 there is, so it needs nothing but the stdlib."""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
LOCK = ROOT / "requirements-dev.lock"
MINIMUM_PYTHON = (3, 11)
# Kept out of .venv while it is being built, so that a half-built one is never taken for a good one.
STAMP = VENV / ".built-from"


class BootstrapError(Exception):
    """A step failed; the message says what and how to mend it, in one line."""


def main() -> int:
    """Bring .venv up to date; returns the exit code and prints one line on failure."""
    try:
        check_python(sys.version_info[:2], sys.executable)
        with (ROOT / ".venv.lock").open("w") as guard:
            fcntl.flock(guard, fcntl.LOCK_EX)
            make_current()
    except BootstrapError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted while setting up .venv; run the same command again", file=sys.stderr)
        return 130
    return 0


def check_python(version: tuple[int, ...], executable: str) -> None:
    """Raise BootstrapError when `version` is older than the project supports."""
    if version < MINIMUM_PYTHON:
        have = ".".join(map(str, version))
        need = ".".join(map(str, MINIMUM_PYTHON))
        raise BootstrapError(
            f"Python {need} or newer is needed, but {executable} is {have}: "
            "install one and run e.g. `make PYTHON=python3.12 ...`"
        )


def fingerprint() -> str:
    """Digest of all that decides what .venv holds: the lock, the entry points and the interpreter."""
    digest = hashlib.sha256(sys.version.encode() + str(ROOT).encode())
    for source in (LOCK, ROOT / "pyproject.toml"):
        digest.update(source.read_bytes())
    return digest.hexdigest()


def lock_fingerprint() -> str:
    """Digest of what decides the third-party part of .venv alone: lock, interpreter and place."""
    return hashlib.sha256(sys.version.encode() + str(ROOT).encode() + LOCK.read_bytes()).hexdigest()


def make_current() -> None:
    """Build .venv when the lock changed, and join the project to it when its metadata changed."""
    built = STAMP.read_text().split() if STAMP.exists() else ["", ""]
    if built == [lock_fingerprint(), fingerprint()]:
        return
    if built[0] != lock_fingerprint():
        build()
    pip("install", "--quiet", "--no-deps", "--no-index", "--no-build-isolation", "--editable", str(ROOT))
    STAMP.write_text(f"{lock_fingerprint()}\n{fingerprint()}\n")


def build() -> None:
    """Create .venv afresh and install the locked packages, each checked against its hash."""
    print("setting up .venv from requirements-dev.lock (about a minute, once)", file=sys.stderr)
    shutil.rmtree(VENV, ignore_errors=True)
    remedy = "cannot make a virtual environment: install the venv module (Debian: apt-get install python3-venv)"
    run([sys.executable, "-m", "venv", str(VENV)], remedy)
    pip("install", "--quiet", "--require-hashes", "--requirement", str(LOCK))


def pip(*arguments: str) -> None:
    """Run the environment's own pip."""
    command = [str(VENV / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", *arguments]
    run(command, "pip could not install the locked packages (its own words above): is the package index reachable?")


def run(command: list[str], failure: str) -> None:
    """Run `command`; `failure` is the one line that says what went wrong and how to mend it."""
    if subprocess.run(command, check=False).returncode != 0:
        raise BootstrapError(failure)


if __name__ == "__main__":
    sys.exit(main())
