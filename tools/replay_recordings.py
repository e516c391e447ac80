"""Replay recordings of the real service and report differences of the embedded service.

    python tools/replay_recordings.py [--all] [--keep COUNTS] [FILE]

FILE is ``real-service.jsonl``; by default the one in ``../shared/recordings`` next to the project.
``--keep tools/replay/counts.json`` is for ``tools/generate_compatibility.py``. Exits 1 if a
difference has no reason, or if fewer than 95 % of the applicable exchanges agree.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from replay.comparison import differences
from replay.preconditions import Preconditions, SetupError
from replay.reasons import does_not_apply, setup_failed, why
from replay.recordings import Exchange, read_recordings
from replay.service import serving

RECORDINGS = Path(__file__).parents[2] / "shared" / "recordings" / "real-service.jsonl"
TARGET = 0.95


@dataclass(frozen=True, slots=True)
class Verdict:
    """The result of one exchange.

    ``skipped`` is the reason why it was not replayed, ``found`` the differences (empty if the
    replies agree), and ``reason`` the known reason of the differences.
    """

    exchange: Exchange
    skipped: str = ""
    found: tuple[str, ...] = ()
    reason: str = ""


async def replay_all(exchanges: Iterable[Exchange], data: Path) -> list[Verdict]:
    """Replay the exchanges, each source on a separate service."""
    sources: dict[str, list[Exchange]] = defaultdict(list)
    for exchange in exchanges:
        sources[exchange.source].append(exchange)
    verdicts = []
    for number, (_, group) in enumerate(sources.items()):
        with serving(data / str(number)) as service:
            preconditions = Preconditions(service, group)
            for exchange in group:
                skipped = does_not_apply(exchange)
                if skipped:
                    verdicts.append(Verdict(exchange, skipped=skipped))
                    continue
                try:
                    await preconditions.arrange(exchange)
                except SetupError as error:
                    verdicts.append(Verdict(exchange, skipped=setup_failed(str(error))))
                    continue
                answer = await service.send(
                    exchange.method, exchange.path, exchange.query, exchange.body
                )
                found = tuple(differences(exchange, answer))
                preconditions.note(exchange, answer)
                verdicts.append(Verdict(exchange, found=found, reason=why(exchange, found)))
    return verdicts


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", nargs="?", type=Path, default=RECORDINGS, metavar="FILE")
    parser.add_argument(
        "--all", action="store_true", help="show every difference of every exchange"
    )
    parser.add_argument("--keep", type=Path, metavar="COUNTS", help="write the counts as JSON")
    options = parser.parse_args()
    # Almost all recordings are of versions that will be retired.
    logging.getLogger("batchspec.local.http").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as data:
        verdicts = asyncio.run(replay_all(read_recordings(options.file), Path(data)))
    skipped = [verdict for verdict in verdicts if verdict.skipped]
    applied = [verdict for verdict in verdicts if not verdict.skipped]
    differing = [verdict for verdict in applied if verdict.found]
    reasons = {
        "do not apply": Counter(verdict.skipped for verdict in skipped),
        "differ": Counter(verdict.reason or f"? {_what(verdict)}" for verdict in differing),
    }
    families = {
        name: _counts([one for one in verdicts if one.exchange.family == name])
        for name in sorted({verdict.exchange.family for verdict in verdicts})
    }
    print(f"{len(verdicts)} recorded exchanges, {len(skipped)} do not apply:")
    _table(reasons["do not apply"])
    print(f"\n{len(applied)} apply, {len(differing)} differ:")
    _table(reasons["differ"])
    if options.keep is not None:
        tables = {name: dict(counter.most_common()) for name, counter in reasons.items()}
        counts = {
            "recorded": len(verdicts),
            "apply": len(applied),
            **tables,
            "families": families,
        }
        options.keep.write_text(json.dumps(counts, indent=2) + "\n", encoding="utf-8")
    print(f"\n{'family':<22}recorded   apply   agree")
    for name, (recorded, apply, agree) in families.items():
        print(f"{name:<22}{recorded:>8}{apply:>8}{agree:>8}")
    if options.all:
        for verdict in differing:
            exchange = verdict.exchange
            print(f"\n{exchange.line} {exchange.source}\n  {exchange.method} {exchange.path}")
            print("".join(f"    {line}\n" for line in verdict.found), end="")
    share = (len(applied) - len(differing)) / max(1, len(applied))
    unexplained = sum(not verdict.reason for verdict in differing)
    print(f"\n{share:.1%} of the applicable exchanges agree; {unexplained} differ without a reason")
    return int(share < TARGET or unexplained > 0)


def _counts(verdicts: Sequence[Verdict]) -> tuple[int, int, int]:
    """The numbers of recorded exchanges, of exchanges that apply, and of exchanges that agree."""
    applied = [verdict for verdict in verdicts if not verdict.skipped]
    return len(verdicts), len(applied), sum(not verdict.found for verdict in applied)


def _what(verdict: Verdict) -> str:
    exchange = verdict.exchange
    parts = exchange.parts
    shape = "/".join(p if i % 2 == 0 or i > 3 else "." for i, p in enumerate(parts[:5]))
    return f"{exchange.method} /{shape}: {', '.join(verdict.found)}"[:220]


def _table(counts: Counter[str]) -> None:
    for text, count in counts.most_common():
        print(f"{count:6}  {text}")


if __name__ == "__main__":
    sys.exit(main())
