"""Tests of the worker's settings and of what it says when it can't start; without servers."""
