"""What the service tells about itself: metrics, traces and logs. Imports the ledger and workflows.interface alone."""
