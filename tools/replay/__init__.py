"""Exchanges that were recorded with the real service, replayed against the embedded one."""
