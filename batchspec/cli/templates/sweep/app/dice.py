"""Roll dice: ``dice.py DICE TARGET ROLLS FILE`` says how often DICE dice reach TARGET."""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path


def main() -> None:
    """Roll, and write one line of JSON."""
    dice, target, rolls = map(int, sys.argv[1:4])
    # The same parameters give the same result, so that a task can be repeated.
    rng = random.Random(f"{dice} {target}")
    hits = sum(sum(rng.randint(1, 6) for _ in range(dice)) >= target for _ in range(rolls))
    share = {"dice": dice, "target": target, "rolls": rolls, "share": hits / rolls}
    Path(sys.argv[4]).write_text(json.dumps(share) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
