"""The product speaks the language of its field: words that the style rules out are not used."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]

BANNED = re.compile(
    r"\b("
    r"mend(s|ed|ing)?|tell(s|ing)?|told|anew|whoever|nobody|somebody|anybody|manieth|"
    r"doomed|fates|dice|wishes|rehearse[ds]?|bad days?|shall|"
    r"on (its|their) way|not there yet|under way|goes on from|by hand of|at the door|"
    r"of (its|their) own making|so many of|any more|excludes? each other|"
    r"local (?:Batch )?service(?! on the Node)|"
    r"belongs? into|also (after|those)|(?<!meta)data (are|were)|needs no value of|"
    r"as far as it is known|service answers (that|with)|(its|their) end was requested"
    r")\b",
    re.IGNORECASE,
)

ALLOWED = {"bad-day", "TABLE doomed", "INTO doomed", "node on its way"}
"""Published names: the profile of fault injection; a table and an index of data
folders of earlier versions."""


def texts() -> Iterator[tuple[str, str]]:
    """Every text that people read: strings, docstrings, comments, names, pages, specs."""
    for path in sorted((ROOT / "batchspec").rglob("*.py")):
        where, source = path.relative_to(ROOT).as_posix(), path.read_text("utf-8")
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield f"{where}:{node.lineno}", node.value
        # Names and comments; a string can continue on the next line.
        for number, line in enumerate(source.splitlines(), 1):
            yield f"{where}:{number}", line
            if "_" in line:
                yield f"{where}:{number}", line.replace("_", " ")
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "specs").rglob("*.md")]
    pages += [*(ROOT / "specs").glob("*.yaml"), *(ROOT / "batchspec").rglob("*.yaml")]
    pages += [*(ROOT / "schemas").glob("*.json"), ROOT / "schemas" / "language.yaml"]
    pages += [ROOT / "action.yml", *(ROOT / "tools").glob("*.yaml")]
    for folder in ("findings", "benchmarks"):
        pages += (ROOT / folder).glob("*.md")
    # Comments of scripts; their code can use words of other libraries, such as `file.tell()`.
    for path in [*(ROOT / "findings").glob("*.sh"), *(ROOT / "action").glob("*.py")]:
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
            if line.lstrip().startswith("#"):
                yield f"{path.relative_to(ROOT).as_posix()}:{number}", line
    for path in pages:
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
            yield f"{path.relative_to(ROOT).as_posix()}:{number}", line


def test_no_text_uses_a_banned_word() -> None:
    found, read = [], 0
    for where, text in texts():
        read += 1
        plain = text
        for word in ALLOWED:
            plain = plain.replace(word, "")
        found += [f"{where}: {match[0]}" for match in BANNED.finditer(plain)]
    assert found == [], "\n".join(found)
    assert read > 10_000
