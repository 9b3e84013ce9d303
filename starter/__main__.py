"""`python -m starter` is the command `transfers`."""

from starter.cli import main

if __name__ == "__main__":
    main()
