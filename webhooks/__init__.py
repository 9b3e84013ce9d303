"""Webhooks over HTTP: signing, the target guard's place, and the sender."""
