"""Valid specs with unusual values, for :mod:`tests.spec.hostile_inputs`; most are planned."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping

TEXTS = tuple(
    json.dumps(text)
    for text in (
        *("ä\u0301 \U0001f600", "\u202egnp.exe", "a\nb\r\n\tc", " \u00a0 ", "\u001b[2J", "\u2028"),
        *("'\"`$(id)`\"'", "%PATH%^&|<>", "\\\\server\\x\\", "#", "- a: b", "*x", "&y", "!z", "~"),
        *("no", "0x1F", "1e3", "2026-02-29", "null", "=", "<script>", "x" * 5000, "{{ '{{' }}"),
        *("{{ top }}", "{{ words | join('\u202e') }}", "{{ tree | tojson }}", "{{ 10 ** 30 }}"),
        *("{{ 1 / 3 }}", "{{ 'ß' | upper }}", "{{ name }}{{ job.id }}{{ pool.id }}", "{{ -0.0 }}"),
        *("{{ 'a' * 3000 }}", "{{ words[-1] }}", "{{ tree.a.b + 1e15 }}", "{{ none }}", "{{ [] }}"),
    )
)
IDS = ("A", "-", "_", "0", "a-_Z9", "x" * 64, '"{{ name | upper }}"', '"{{ name }}-{{ top }}"')
COMMANDS = (
    *("echo", "[echo]", '[echo, "", "{{ top }}", "a b", "\'", "\\""]', '"a\\\\"', "'%OS% ^ & |'"),
    *("\"{{ words | join(' ') | raw }}\"", "'echo \"{{ top }}\" ''{{ name }}'' {{ index }}'"),
    *('"for i in $(seq 3); do echo $i; done # {{ task.id }}"', "|\n      one\n\n      two \\\n"),
    *(json.dumps("echo " + "x" * 60_000), json.dumps("echo \u0007 ä \u2028 \U0001f600")),
    *("\"echo {{ 'a\\nb' }} {{ '$HOME' }}\"", "\"{{ 'true' if top > 2 else 'false' }}\""),
)
ROWS = (
    "a,b\n1,2\n3,4\n",
    'a,b\n"x\ny","\'"\n,\n ä,\U0001f600\n',
    "a,b\r\n" + "long" * 500 + ",0\r\n",
    "\ufeffa,b\n0x1,1e999\n-0,nan\n",
    "a,b\n" + "".join(f"{n},{n % 7}\n" for n in range(3000)),
)
FOR_EACH = (
    *("{range: [0, 3]}", "{range: [-3, 3]}", "{range: [5, 0, -1]}", "{range: [0, 1, 0.001]}"),
    *("{range: [0, 3000]}", "{range: [999999999999, 1000000000003]}", "{range: [0, 0.3, 0.1]}"),
    *("{list: [red, 1, null, {a: 1}]}", "{list: [[], {}, '', 0, false, 1.5, -0.0]}"),
    *(f"{{list: [{', '.join(TEXTS[:20])}]}}", '{list: ["{{ top }}", "{{ words }}"]}'),
    *("{list: [{a: 1, b: 2}, {a: 'x y', b: [1]}]}", f"{{list: ['{'x' * 2000}', b]}}"),
    *("{matrix: {a: [1, 2], b: {range: [0, 3]}}}", "{matrix: {a: [x], b: [y], c: [z], d: [1]}}"),
    "{matrix: {a: [1, 2, 3], b: [1, 2, 3]}, exclude: [{a: 1}, {a: 2, b: 3}]}",
    "{matrix: {a: [1, 2]}, include: [{a: 3}, {a: '', b: null}]}",
    *("{files: input}", "{files: input, group: 2}", "{files: input, group: 1000}"),
    *("{blobs: input}", "{rows: rows.csv}", "{rows: rows.csv}"),
)

VALUES: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(("description", "metadata", "env"), TEXTS),
    **dict.fromkeys(("pool_id", "job_id"), IDS),
    "name": ("A", "0", "x" * 64, "a-_Z9"),
    "container_id": ("abc", "a" * 63, "0-1-2", '"{{ name }}-x"', '"x{{ top }}x"'),
    "vm_size": ("STANDARD_D2S_V5", "Standard_D96as_v5", "standard_nc24ads_a100_v4"),
    "nodes": (
        *("0", "1000", '"{{ top }}"', "{dedicated: 0, spot: 3}", "{spot: 1}"),
        *("{scale: {max: 5}}", "{scale: {min: 1, max: 2}}", "{dedicated: 1, spot: 1}"),
    ),
    "image": ("ubuntu-22.04", "ubuntu-24.04", "debian-12", '"ubuntu-{{ 24 }}.04"'),
    "start": COMMANDS[:6],
    "start_resources": ("[]", "[input]", '["input"]'),
    "job_limit": ("7d", "90s", "PT1H", "P1DT2H3M4.5S", "0.5h", '"{{ top }}h"'),
    "priority": ("-1000", "1000", '"{{ top }}"', '"{{ -top }}"'),
    "schedule": ("", "", "  schedule: {every: 1d, until: 2026-04-01T00:00:00Z}"),
    "for_each": FOR_EACH,
    "task_id": ('"work-{{ index }}"', '"{{ index }}"', "'{{ name }}-{{ index | zfill(9) }}'"),
    "command": COMMANDS,
    "env_name": ("A_B", "ä", "a.b", "x" * 300, "PATH"),
    "slots": ("1", '"{{ 1 if index % 2 else 1 }}"'),
    "retries": ("-1", "0", "10", '"{{ index % 3 }}"'),
    "limit": ("1m", "PT1M", '"{{ index + 1 }}m"', "0.5s"),
    "resources": ("[]", "[input]", "[input, input]"),
    "pattern": (
        *('"**"', '"../std*.txt"', '"a b/*.txt"', '"{{ index }}-*.txt"', '"ü*"', '"-"'),
        *('"{{ task.id }}[0].txt"', '"$AZ_BATCH_TASK_DIR/x*"', '"**/**/*.{{ top }}"'),
    ),
    "path": ('"{{ task.id }}/"', '"ü/"', '"a b/"', '"%41/"', '"a/../b/"', f'"{"d/" * 100}"'),
    "logs": ("true", "false", '"{{ top > 2 }}"'),
    "code": ("1", "255", "-1", "2147483647"),
    "action": ("satisfy", "block"),
    "match": ('"*"', '"**/x"', '"[!a]*"', '["*.txt", "b/*"]', '"{{ name }}*"'),
    "to": ("results/", '"../r-{{ name }}/"', '"ü/a b/"', '"r/./x/../y"'),
    "cleanup": ("never", "always", "on_success", "ask"),
}


def odd_places(rng: random.Random) -> dict[str, str]:
    """Values for one to six places of a spec."""
    chosen = rng.sample(sorted(VALUES), rng.choice((1, 2, 3, 4, 6)))
    return {place: rng.choice(VALUES[place]) for place in chosen}
