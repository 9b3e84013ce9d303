"""Tests of the whole system: the worker as a process, with all its real parts."""
