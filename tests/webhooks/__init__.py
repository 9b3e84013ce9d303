"""Tests of webhooks: signing, sending, draining, the ledger's part, the workflows and the commands."""
