"""Tests of the workflows on the Temporal dev server, with typed fakes of their steps."""
