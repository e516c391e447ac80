"""growth.py RATE YEARS: what 1000 become at RATE per cent a year."""

import sys

rate, years = float(sys.argv[1]), int(sys.argv[2])
print(f"{1000 * (1 + rate / 100) ** years:.2f}")
