"""The same commands as `transfers dev`, for make: `python -m devstack up`."""

from devstack.cli import app

app(prog_name="python -m devstack")
