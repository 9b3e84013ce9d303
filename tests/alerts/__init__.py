"""Alerts: what opens and closes them, and how they're told."""
