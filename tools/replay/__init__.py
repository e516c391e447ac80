"""Replay of recordings of the real service against the embedded service."""
