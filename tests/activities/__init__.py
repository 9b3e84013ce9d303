"""Tests of the steps on real Postgres and a real EVM node."""
