"""primes.py FROM TO: the primes from FROM up to, but not with, TO, one a line."""

import sys

first, end = int(sys.argv[1]), int(sys.argv[2])
for number in range(max(first, 2), end):
    if all(number % divisor for divisor in range(2, int(number**0.5) + 1)):
        print(number)
