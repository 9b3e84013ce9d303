"""Tests of the ledger on real Postgres."""
