"""The embedded default: real Postgres, Temporal and EVM servers on this machine, and the demo that runs on them."""
