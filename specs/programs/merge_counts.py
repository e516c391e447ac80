"""merge_counts.py N FILE...: add up counts of words, and print the N most frequent.

A file has lines of a word, a tab and its count, as task_app/topn.py writes them; a line that starts
with # is a remark.
"""

import sys
from collections import Counter
from pathlib import Path

total: Counter = Counter()
for name in sys.argv[2:]:
    for line in Path(name).read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            word, count = line.split("\t")
            total[word] += int(count)
ranking = sorted(total.items(), key=lambda item: (-item[1], item[0]))
for word, count in ranking[: int(sys.argv[1])]:
    print(f"{word}\t{count}")
