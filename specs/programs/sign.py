"""sign.py TEXT: the text and its signature (HMAC-SHA256) with the key in SIGNING_KEY."""

import hashlib
import hmac
import os
import sys

text = sys.argv[1]
key = os.environ["SIGNING_KEY"]
print(text)
print(hmac.new(key.encode(), text.encode(), hashlib.sha256).hexdigest())
