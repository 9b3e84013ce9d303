"""The same commands as `transfers dev`, for make: `python -m devstack up`."""

from devstack.cli import main

main()
