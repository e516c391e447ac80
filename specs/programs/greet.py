"""greet.py --calm|--loud WHO TIMES WORD...: a greeting, as often as asked for."""

import sys

manner, who, times, *words = sys.argv[1:]
sentence = f"{' '.join(words)}, {who}!"
for _ in range(int(times)):
    print(sentence.upper() if manner == "--loud" else sentence)
