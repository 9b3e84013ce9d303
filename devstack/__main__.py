"""The same commands as `transfers dev`, for make: `python -m devstack up`."""

import signal
import sys

# Before the slow imports: Ctrl-C during them is no reason for a traceback.
signal.signal(signal.SIGINT, lambda *_: sys.exit(130))

from devstack.cli import main  # noqa: E402  # see above

main()
