"""divide.py A B: quotient and remainder into parts/, a journal, and state.json while at work."""

import json
import sys
from pathlib import Path

a, b = int(sys.argv[1]), int(sys.argv[2])
journal = Path("journal.log")
state = Path("state.json")
journal.write_text(f"dividing {a} by {b}\n")
state.write_text(json.dumps({"a": a, "b": b}) + "\n")
quotient, remainder = divmod(a, b)
for name, value in (("quotient", quotient), ("remainder", remainder)):
    part = Path("parts", name, "value.txt")
    part.parent.mkdir(parents=True)
    part.write_text(f"{value}\n")
with journal.open("a") as file:
    file.write("done\n")
