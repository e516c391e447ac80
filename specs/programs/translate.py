"""translate.py DICTIONARY... LETTER: the letter, word by word. A dictionary has two columns."""

import sys
from pathlib import Path

*dictionaries, letter = map(Path, sys.argv[1:])
words = dict(
    line.split("\t")
    for dictionary in dictionaries
    for line in dictionary.read_text(encoding="utf-8").splitlines()
)
for line in letter.read_text(encoding="utf-8").splitlines():
    print(" ".join(words.get(word, word) for word in line.split()))
