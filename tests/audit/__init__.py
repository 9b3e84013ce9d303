"""Proofs of docs/audit.md that no other room's tests give: each through the whole system."""
