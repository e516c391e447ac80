"""Azurite, Azure's own storage emulator: finding a Node.js for it, installing it, running it."""
