"""Tests of dead letters: what is buried, and how it's replayed."""
