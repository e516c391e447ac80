"""``python -m batchspec``."""

from batchspec.cli.main import main

main()
