"""Scenarios of the bench: what one kind of work does to another, each on a fresh stack of its own."""
