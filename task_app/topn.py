"""Count the words of a text file and write the most frequent: ``topn.py FILE N [CONTAINER_URL]``.

Without ``CONTAINER_URL``, the environment variable ``OUTPUT_URL`` is used. Prefer it on a shared
machine: other users can list command lines, but not the environment of a process.

This is the task program of ``specs/topn.yaml``. A compute node has only Python (3.8 or later), so
the program is one file and uses only the standard library.

Words
    A word starts with a letter or digit of any script (Unicode categories L and N), followed by
    letters, digits and combining marks (M). Single apostrophes can join such parts: ``don't`` is
    one word, ``'tis`` is ``tis``, ``well-known`` is two words. The typographic apostrophe U+2019
    counts as the ASCII one. Words are compared without case and in composed form: NFC of the
    casefolded NFD. Only the first 256 characters of a word count.

Order
    By count, the largest first; words with equal counts by their code points.

Reading
    The file is read in blocks, so memory grows with the number of different words and not with
    the size of the file. All processors of the node share a large UTF-8 file. A byte order mark
    identifies UTF-8, UTF-16 or UTF-32; without one the text is read as UTF-8. A text that is not
    valid UTF-8 is read as windows-1252. In a damaged text with a byte order mark, U+FFFD replaces
    what cannot be decoded. Standard error and the result report both cases.

Output
    One line that starts with ``#`` describes the file. Then each word has a line
    ``word<TAB>count``. The output is UTF-8. It is written to standard output and to a result with
    the name of the file and ``.top.txt``. Without a URL the result is next to the file. With a URL
    it is a block blob of that container. The name of the blob is the path of the file: relative to
    the working directory if the file is in it, otherwise the full path without its root, so that
    two files never have the same result.

Exit codes
    0: done. 1: the file cannot be read, or the result cannot be written or uploaded. 2: the
    command line is wrong. 130: interrupted. The URL is a secret: messages do not contain it.
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
"""Bytes per read. They fit into the cache of a processor."""

PART = 1 << 24
"""The minimum number of bytes per process, and the maximum size of the spellings in memory."""

LONGEST = 256
"""Characters of a word that count. A file of one endless word does not fill the memory."""

ATTEMPTS = 7
TIMEOUT = 60.0
LONGEST_PAUSE = 300.0

_MARKS = (  # The longer mark first: the one of UTF-32 starts with the one of UTF-16.
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


class TaskError(Exception):
    """A failure with a message for users, without the URL. The program exits with code 1."""


class UsageError(Exception):
    """The command line is wrong. The program exits with code 2."""


class Encoding(NamedTuple):
    """How a file is read: the codec, its error handler, and a remark if the codec is a guess."""

    codec: str
    errors: str = "strict"
    remark: str = ""


def _combining_marks() -> str:
    """The characters of the categories Mn, Mc and Me, as the content of a character class.

    ``re`` does not support categories, and its ``\\w`` does not match marks: it would split Hindi
    words and decomposed accents. All marks are in these two ranges.
    """
    spans: list[list[int]] = []
    for codes in (range(0x300, 0x20000), range(0xE0100, 0xE01F0)):
        for code in codes:
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
    decomposed = unicodedata.normalize("NFD", word[:LONGEST].rstrip("'\u2019"))
    return unicodedata.normalize("NFC", decomposed.casefold()).replace("\u2019", "'")


# In UTF-8, an ASCII byte is always a complete character. A text can therefore be split at the ASCII
# characters that are in no word, without decoding. `translate` replaces these with line feeds, and
# uppercase letters with lowercase letters; `Counter` counts the lines, one object at a time. Most
# spellings are plain ASCII words. Only the others (with an apostrophe, or with letters or
# punctuation outside ASCII) are decoded and split by the pattern, each spelling once.
_KEPT = (string.digits + string.ascii_letters + "'").encode() + bytes(range(0x80, 0x100))
_SEPARATED = bytes(byte if byte in _KEPT else ord("\n") for byte in range(0x100)).lower()


def count_words(blocks: Iterable[bytes]) -> Counter[str]:
    """Count the words of a UTF-8 text in blocks; a block can end within a word or a character.

    Raises UnicodeError if the text is not valid UTF-8.
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
            rest = _split_endless(words, rest)
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


def _split_endless(words: Counter[str], text: bytes) -> bytes:
    """Add the words of a text without ASCII separators, except an end that can continue.

    Such a text has another script and punctuation, or is one endless word. Returns the end.
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
    """The end of the text that more text can make longer; ``last`` is the last word of the text."""
    rest = next((last + end for end in ("", "'", "\u2019") if text.endswith(last + end)), "")
    if len(rest) <= LONGEST:
        return rest
    # The characters that count, and the one that decides how the word continues. The 0 joins them.
    return rest[:LONGEST] + "0" + rest[-1]


def most_frequent(words: Counter[str], number: int) -> list[tuple[str, int]]:
    """The ``number`` most frequent words with their counts, or all if there are fewer."""
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
    """A text of another encoding, in UTF-8. Raises UnicodeError if it cannot be decoded."""
    decoder = codecs.getincrementaldecoder(encoding.codec)(encoding.errors)
    for block in blocks:
        yield decoder.decode(block).encode("utf-8")
    yield decoder.decode(b"", final=True).encode("utf-8")


def count_utf8(path: Path, processes: int) -> Counter[str]:
    """Count the words of a UTF-8 file. Each process counts a part of a large file."""
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
    """The offsets of up to ``parts`` parts of a file: ASCII characters that are in no word."""
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
    """Count the words of a file; returns them with its encoding. Raises OSError and TaskError."""
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
        # A part is counted already. Start again, so that the whole file is read with one codec.
        if marked:
            second = Encoding(marked, "replace", "damaged, U+FFFD where it cannot be decoded")
        else:
            second = Encoding("windows-1252", "replace", "a guess: it is not valid UTF-8")
        return count_words(as_utf8(read_blocks(path), second)), second


def result_text(name: str, number: int, words: Counter[str], encoding: Encoding) -> str:
    """The text of the result, as the docstring of the module describes it."""
    shown = "".join(char if char.isprintable() else "?" for char in name)
    read_as = encoding.codec.replace("-sig", "")
    remark = f" ({encoding.remark})" if encoding.remark else ""
    total = f"{sum(words.values())} words, {len(words)} different"
    lines = [f"# {shown}: top {number} of {total}; read as {read_as}{remark}"]
    lines += [f"{word}\t{count}" for word, count in most_frequent(words, number)]
    return "\n".join(lines) + "\n"


def blob_name(path: Path) -> str:
    """The name of the blob for the result of this file."""
    # Not resolve(): the name of a link is the path on the command line.
    whole = PurePath(os.path.abspath(path))  # noqa: PTH100
    folder = Path.cwd()
    try:
        parts = whole.relative_to(folder).parts
    except ValueError:
        parts = (whole.drive.rstrip(":"), *whole.parts[1:])
    return "/".join(part for part in parts if part) + ".top.txt"


def write_next_to(path: Path, body: bytes) -> Path:
    """Write the result next to the file, completely or not at all."""
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
    """Write the body to a blob. Retries if the service is busy or the connection is lost.

    Raises TaskError if the service refuses the request, or if all attempts fail.
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
            # urllib does not follow the redirect of a PUT: the SAS goes to this host only.
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
            # Only the type is reported: the text of some of them contains the URL.
            cause = error.reason if isinstance(error, urllib.error.URLError) else error
            failure = type(cause).__name__
            if isinstance(cause, ssl.SSLCertVerificationError):
                raise TaskError("the server's certificate is not trusted") from None
        if attempt < ATTEMPTS:
            pause = min(LONGEST_PAUSE, 2.0 ** (attempt - 1) if asked is None else asked)
            report(f"upload: {failure}; attempt {attempt + 1} in {pause:.0f} s")
            sleep(pause)
    raise TaskError(f"the upload failed {ATTEMPTS} times, most recently with {failure}")


def _asked_pause(header: str, now: float) -> float | None:
    """Seconds to wait by a ``Retry-After`` header (number or date); ``None`` without one."""
    if re.fullmatch("[0-9]{1,9}", header):
        return float(header)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(header).timestamp() - now)
    except (TypeError, ValueError):
        return None


def report(message: str) -> None:
    """Print one line on standard error."""
    print("topn: " + message, file=sys.stderr, flush=True)


def read_arguments(arguments: list[str]) -> tuple[Path, int, str]:
    """FILE, N and the URL of the container (empty without one). Raises UsageError."""
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
            raise UsageError(f"{name} must be a complete http or https URL")
    return Path(file), int(number), url


def run(arguments: list[str]) -> None:
    """Run the command line. Raises UsageError, TaskError and OSError."""
    path, number, url = read_arguments(arguments)
    try:
        words, encoding = count_file(path)
    except (OSError, TaskError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise TaskError(f"cannot read {path}: {reason}") from None
    if encoding.remark:
        report(f"{path} is read as {encoding.codec}: {encoding.remark}")
    text = result_text(path.name, number, words, encoding)
    body = text.encode("utf-8")
    if url:
        name = blob_name(path)
        try:
            address = blob_url(url, name)
        except UnicodeEncodeError:
            raise TaskError("the name of the file is not valid UTF-8") from None
        upload(address, body)
    else:
        try:
            name = str(write_next_to(path, body))
        except OSError as error:
            raise TaskError(f"cannot write the result: {error.strerror}") from None
    print(text, end="", flush=True)
    report(f"the result is in {name}")


def main(arguments: list[str]) -> int:
    """Run, report a failure in one line on standard error, and return the exit code."""
    for stream in (sys.stdout, sys.stderr):
        # The locale of a node may not be able to show every word.
        getattr(stream, "reconfigure", lambda **_: None)(errors="backslashreplace")
    try:
        run(arguments)
    except UsageError as error:
        report(f"{error}; usage: python topn.py FILE N [CONTAINER_URL]")
        return 2
    except TaskError as error:
        report(str(error))
        return 1
    except KeyboardInterrupt:
        report("interrupted")
        return 130
    except Exception as error:  # noqa: BLE001 - the text of an exception may contain the URL
        report(f"failed: {type(error).__name__}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
