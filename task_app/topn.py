"""Count the words of a text file and keep the most frequent: ``topn.py FILE N [CONTAINER_URL]``.

Without ``CONTAINER_URL``, the environment variable ``OUTPUT_URL`` is used. Prefer it on a shared
machine: other users can list command lines, but not the environment of a process.

The task application of ``specs/topn.yaml``. It runs on a compute node, which has nothing but a
Python (3.8 or newer), so it uses the standard library alone and is one file.

What is a word
    A letter or digit of any script (Unicode categories L and N), with the letters, digits and
    combining marks (M) that follow it, and with single apostrophes between two such pieces:
    ``don't`` is one word, ``'tis`` is ``tis``, ``well-known`` are two. The typographic apostrophe
    U+2019 is the same as the plain one. Words are compared without case and in composed form: NFC
    of the casefolded NFD. Of a word longer than 256 characters the first 256 count.

In which order
    The greatest count first; words of equal count by their code points.

How the file is read
    In blocks, so that memory grows with the number of different words and not with the file; a
    large UTF-8 file by all processors of the node, a part each. A byte order mark shows UTF-8,
    UTF-16 or UTF-32; without one the text is UTF-8. A text that is not valid UTF-8 is read as
    windows-1252, and a damaged one with a mark with U+FFFD in the place of what cannot be read;
    both are reported on standard error and in the result.

What comes out
    One line starting with ``#`` about the file, then a line ``word<TAB>count`` for each word, in
    UTF-8, on standard output and in a result named like the file with ``.top.txt`` added. Without a
    URL the result stands beside the file. With a URL it becomes a block blob of that container,
    named by the file's path: relative to the working directory if it lies inside, else the whole
    path without its root, so that two files never share a result.

Exit codes
    0 done; 1 the file cannot be read, or the result cannot be written or uploaded; 2 the command
    line is wrong; 130 interrupted. The URL is a secret: no message contains it.
"""

from __future__ import annotations

import base64
import codecs
import email.utils
import hashlib
import heapq
import http.client
import io
import os
import re
import ssl
import stat
import string
import sys
import time
import unicodedata
import urllib.error
import urllib.parse
import urllib.request
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path, PurePath
from typing import Callable, Iterable, Iterator, Mapping, NamedTuple

BLOCK = 1 << 16
"""Bytes read at a time: few enough for the cache of a processor."""

PART = 1 << 24
"""Bytes that a process counts at least, and that the spellings it keeps have at most."""

LONGEST = 256
"""Characters of a word that count. Keeps a file of one endless word from filling the memory."""

ATTEMPTS = 7
TIMEOUT = 60.0
LONGEST_PAUSE = 300.0

_MARKS = (  # The longer mark first: that of UTF-32 starts with that of UTF-16.
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


class TaskError(Exception):
    """A failure with a message for the user, free of the URL. Ends the program with exit code 1."""


class UsageError(Exception):
    """The command line is wrong. Ends the program with exit code 2."""


class Encoding(NamedTuple):
    """How a file is read: the codec, its error handler, and what to say where that was a guess."""

    codec: str
    errors: str = "strict"
    remark: str = ""


def _combining_marks() -> str:
    """All characters of the categories Mn, Mc and Me, as the inside of a character class.

    ``re`` knows no categories, and its ``\\w`` leaves marks out, which would cut every Hindi word
    and every decomposed accent in two. They all lie in these two stretches.
    """
    spans: list[list[int]] = []
    for stretch in (range(0x300, 0x20000), range(0xE0100, 0xE01F0)):
        for code in stretch:
            if unicodedata.category(chr(code))[0] == "M":
                if spans and spans[-1][1] == code - 1:
                    spans[-1][1] = code
                else:
                    spans.append([code, code])
    return "".join(f"{chr(first)}-{chr(last)}" for first, last in spans)


_PIECE = r"[^\W_](?:[^\W_]|[" + _combining_marks() + r"])*"
_WORD = re.compile(_PIECE + "(?:['\u2019]" + _PIECE + ")*")


def folded(word: str) -> str:
    """The form in which words are compared and shown."""
    apart = unicodedata.normalize("NFD", word[:LONGEST].rstrip("'\u2019"))
    return unicodedata.normalize("NFC", apart.casefold()).replace("\u2019", "'")


# How words are counted quickly. In UTF-8 an ASCII byte is always a character by itself, so a text
# can be cut at the ASCII characters that are in no word without decoding it: `translate` replaces
# them with line feeds, and capital letters with small ones, and `Counter` counts the lines, one
# object at a time. Most of the spellings that this finds are plain ASCII words. Only the others
# (with an apostrophe, or with letters or punctuation outside ASCII) are decoded and cut by the
# pattern, each spelling once.
_KEPT = (string.digits + string.ascii_letters + "'").encode() + bytes(range(0x80, 0x100))
_SEPARATED = bytes(byte if byte in _KEPT else ord("\n") for byte in range(0x100)).lower()


def count_words(blocks: Iterable[bytes]) -> Counter[str]:
    """Count the words of a UTF-8 text that comes in blocks, wherever the blocks were cut.

    Raises UnicodeError where the text is not valid UTF-8.
    """
    words: Counter[str] = Counter()
    spellings: Counter[bytes] = Counter()
    rest = b""
    size = 0
    for block in blocks:
        text = rest + block.translate(_SEPARATED)
        end = text.rfind(b"\n") + 1
        rest = text[end:]
        if len(rest) > BLOCK:
            rest = _cut_endless(words, rest)
        spellings.update(io.BytesIO(text[:end]))
        size += len(block)
        if size > PART:
            size = sum(map(len, spellings))
            if size > PART // 2:
                _add(words, spellings)
                spellings.clear()
                size = 0
    _add(words, spellings)
    _add(words, {rest: 1})
    return words


def _add(words: Counter[str], spellings: Mapping[bytes, int]) -> None:
    """Add the words in spellings, given the number of occurrences of each spelling."""
    for line, times in spellings.items():
        spelling = line.rstrip(b"\n")
        if spelling.isalnum():  # in ASCII
            words[spelling[:LONGEST].decode("ascii")] += times
        else:
            for word in _WORD.findall(spelling.decode("utf-8")):
                words[folded(word)] += times


def _cut_endless(words: Counter[str], text: bytes) -> bytes:
    """Add the words of a text without any ASCII separator, except an end that may go on.

    Such a text has another script and punctuation, or is one endless word. Returns that end.
    """
    decoder = codecs.getincrementaldecoder("utf-8")()
    decoded = decoder.decode(text)
    found = _WORD.findall(decoded)
    rest = _unfinished(decoded, found[-1]) if found else ""
    for word in found[:-1] if rest else found:
        words[folded(word)] += 1
    incomplete = decoder.getstate()[0]  # the first bytes of a character
    return rest.encode("utf-8") + incomplete


def _unfinished(text: str, last: str) -> str:
    """The end of the text that more text could make a longer word; ``last`` is its last word."""
    rest = next((last + end for end in ("", "'", "\u2019") if text.endswith(last + end)), "")
    if len(rest) <= LONGEST:
        return rest
    # What counts of it, and what decides how it goes on; the filler keeps the two one word.
    return rest[:LONGEST] + "0" + rest[-1]


def most_frequent(words: Counter[str], number: int) -> list[tuple[str, int]]:
    """The ``number`` most frequent words with their counts; fewer where there are fewer words."""
    return heapq.nsmallest(number, words.items(), key=lambda item: (-item[1], item[0]))


def read_blocks(path: Path, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
    """The bytes of a file from ``start`` to before ``stop``, or to its end."""
    with path.open("rb") as file:
        file.seek(start)
        while stop is None or start < stop:
            block = file.read(BLOCK if stop is None else min(BLOCK, stop - start))
            if not block:
                return
            yield block
            start += len(block)


def as_utf8(blocks: Iterable[bytes], encoding: Encoding) -> Iterator[bytes]:
    """A text of another encoding in UTF-8. Raises UnicodeError where it is not text."""
    decoder = codecs.getincrementaldecoder(encoding.codec)(encoding.errors)
    for block in blocks:
        yield decoder.decode(block).encode("utf-8")
    yield decoder.decode(b"", final=True).encode("utf-8")


def count_utf8(path: Path, processes: int) -> Counter[str]:
    """Count the words of a UTF-8 file; of a large one each process counts a part."""
    starts = _starts(path, processes)
    stops = [*starts[1:], None]
    if len(starts) == 1:
        return count_part(path, 0, None)
    total: Counter[str] = Counter()
    with ProcessPoolExecutor(len(starts)) as pool:
        for words in pool.map(count_part, [path] * len(starts), starts, stops):
            total.update(words)
    return total


def count_part(path: Path, start: int, stop: int | None) -> Counter[str]:
    """Count the words of a part of a UTF-8 file."""
    return count_words(read_blocks(path, start, stop))


def _starts(path: Path, parts: int) -> list[int]:
    """Where up to ``parts`` parts of a file start: at ASCII characters that are in no word."""
    size = path.stat().st_size
    parts = min(parts, size // PART)
    starts = [0]
    for index in range(1, parts):
        offset = size * index // parts
        block = next(read_blocks(path, offset), b"")
        at = block.translate(_SEPARATED).find(b"\n")
        if at >= 0:
            starts.append(offset + at)
    return starts


def processors() -> int:
    """The number of processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def count_file(path: Path) -> tuple[Counter[str], Encoding]:
    """Count the words of a file, and say how it was read. Raises OSError."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise TaskError("it is not a regular file")
    with path.open("rb") as file:
        start = file.read(4)
    marked = next((codec for mark, codec in _MARKS if start.startswith(mark)), "")
    first = Encoding(marked or "utf-8")
    try:
        if first.codec.startswith("utf-8"):  # The mark of UTF-8 is in no word.
            return count_utf8(path, processors()), first
        return count_words(as_utf8(read_blocks(path), first)), first
    except UnicodeError:
        # Half of the words are counted already: begin again, so that one rule reads the whole file.
        if marked:
            second = Encoding(marked, "replace", "damaged, U+FFFD where it cannot be read")
        else:
            second = Encoding("windows-1252", "replace", "a guess, since it is not valid UTF-8")
        return count_words(as_utf8(read_blocks(path), second)), second


def result_text(name: str, number: int, words: Counter[str], encoding: Encoding) -> str:
    """The result as it is printed and kept: see the module's docstring."""
    shown = "".join(char if char.isprintable() else "?" for char in name)
    read_as = encoding.codec.replace("-sig", "")
    remark = f" ({encoding.remark})" if encoding.remark else ""
    total = f"{sum(words.values())} words, {len(words)} different"
    lines = [f"# {shown}: top {number} of {total}; read as {read_as}{remark}"]
    lines += [f"{word}\t{count}" for word, count in most_frequent(words, number)]
    return "\n".join(lines) + "\n"


def blob_name(path: Path) -> str:
    """Where in the container the result of this file goes."""
    # Not resolve(): a link is named by where it stands, which is what the command line said.
    whole = PurePath(os.path.abspath(path))  # noqa: PTH100
    here = Path.cwd()
    try:
        parts = whole.relative_to(here).parts
    except ValueError:
        parts = (whole.drive.rstrip(":"), *whole.parts[1:])
    return "/".join(part for part in parts if part) + ".top.txt"


def write_beside(path: Path, body: bytes) -> Path:
    """Put the result beside the file, whole or not at all."""
    target = path.with_name(path.name + ".top.txt")
    partial = path.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        partial.write_bytes(body)
        partial.replace(target)
    finally:
        if partial.exists():
            partial.unlink()
    return target


def blob_url(container_url: str, name: str) -> str:
    """The URL of a blob, given that of its container with a SAS in the query."""
    parts = urllib.parse.urlsplit(container_url)
    path = parts.path.rstrip("/") + "/" + urllib.parse.quote(name, safe="/")
    return urllib.parse.urlunsplit(parts._replace(path=path, fragment=""))


def upload(url: str, body: bytes, sleep: Callable[[float], None] = time.sleep) -> None:
    """Put the body into a blob. Busy services and broken connections are tried again.

    Raises TaskError when the service refuses, or does not answer after all attempts.
    """
    checksum = base64.b64encode(hashlib.md5(body).digest()).decode("ascii")
    headers = {
        "x-ms-blob-type": "BlockBlob",
        "Content-MD5": checksum,
        "Content-Type": "text/plain; charset=utf-8",
    }
    for attempt in range(1, ATTEMPTS + 1):
        request = urllib.request.Request(url, data=body, headers=headers, method="PUT")
        asked: float | None = None
        try:
            # urllib follows no redirect of a PUT, so that the SAS goes to no other host.
            with urllib.request.urlopen(request, timeout=TIMEOUT):
                return
        except urllib.error.HTTPError as error:
            error.close()
            code = re.sub(r"[^A-Za-z0-9]", "", error.headers.get("x-ms-error-code", ""))[:80]
            failure = f"{error.code} {code}".strip()
            if error.code not in (408, 429) and error.code < 500:
                raise TaskError(f"the upload was refused ({failure})") from None
            asked = _asked_pause(error.headers.get("Retry-After", ""), time.time())
        except (OSError, http.client.HTTPException) as error:
            # Of these only the kind is told: the text of some of them contains the URL.
            cause = error.reason if isinstance(error, urllib.error.URLError) else error
            failure = type(cause).__name__
            if isinstance(cause, ssl.SSLCertVerificationError):
                raise TaskError("the server's certificate is not trusted") from None
        if attempt < ATTEMPTS:
            pause = min(LONGEST_PAUSE, 2.0 ** (attempt - 1) if asked is None else asked)
            say(f"upload: {failure}; attempt {attempt + 1} in {pause:.0f} s")
            sleep(pause)
    raise TaskError(f"the upload failed {ATTEMPTS} times, at last with {failure}")


def _asked_pause(header: str, now: float) -> float | None:
    """Seconds to wait by a ``Retry-After`` header (a number or a date), if it says so."""
    if re.fullmatch("[0-9]{1,9}", header):
        return float(header)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(header).timestamp() - now)
    except (TypeError, ValueError):
        return None


def say(message: str) -> None:
    """One line on standard error."""
    print("topn: " + message, file=sys.stderr, flush=True)


def read_arguments(arguments: list[str]) -> tuple[Path, int, str]:
    """FILE, N and the container's URL (empty if not given), checked. Raises UsageError."""
    if len(arguments) not in (2, 3):
        raise UsageError(f"{len(arguments)} arguments")
    name = "CONTAINER_URL" if len(arguments) == 3 else "OUTPUT_URL"
    file, number, url = (*arguments, os.environ.get("OUTPUT_URL", ""))[:3]
    if not file:
        raise UsageError("FILE is empty")
    if not re.fullmatch(r"0*[1-9][0-9]{0,9}", number, re.ASCII):
        raise UsageError("N must be a whole number from 1")
    if url or len(arguments) == 3:
        try:
            parts = urllib.parse.urlsplit(url)
            sound = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
        except ValueError:
            sound = False
        if not sound or not re.fullmatch(r"[!-~]+", url):
            raise UsageError(f"{name} must be a whole http or https URL")
    return Path(file), int(number), url


def run(arguments: list[str]) -> None:
    """Do what the command line says. Raises UsageError, TaskError and OSError."""
    path, number, url = read_arguments(arguments)
    try:
        words, encoding = count_file(path)
    except (OSError, TaskError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise TaskError(f"cannot read {path}: {reason}") from None
    if encoding.remark:
        say(f"{path} is read as {encoding.codec}: {encoding.remark}")
    text = result_text(path.name, number, words, encoding)
    body = text.encode("utf-8")
    if url:
        name = blob_name(path)
        try:
            address = blob_url(url, name)
        except UnicodeEncodeError:
            raise TaskError("the file's name is not valid UTF-8") from None
        upload(address, body)
    else:
        try:
            name = str(write_beside(path, body))
        except OSError as error:
            raise TaskError(f"cannot write the result: {error.strerror}") from None
    print(text, end="", flush=True)
    say(f"the result is in {name}")


def main(arguments: list[str]) -> int:
    """The boundary: every failure becomes one line on standard error and an exit code."""
    for stream in (sys.stdout, sys.stderr):
        # A node may run in a locale that cannot show every word.
        getattr(stream, "reconfigure", lambda **_: None)(errors="backslashreplace")
    try:
        run(arguments)
    except UsageError as error:
        say(f"{error}; usage: python topn.py FILE N [CONTAINER_URL]")
        return 2
    except TaskError as error:
        say(str(error))
        return 1
    except KeyboardInterrupt:
        say("interrupted")
        return 130
    except Exception as error:  # noqa: BLE001 - the text of an exception may contain the URL
        say(f"failed: {type(error).__name__}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
