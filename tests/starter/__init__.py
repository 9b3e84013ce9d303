"""Tests of the client, of staging and of the command line."""
