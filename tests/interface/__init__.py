"""Tests of the contract's pure rules."""
