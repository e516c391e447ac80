"""The ``notify`` section: the command and the webhook that receive the summary of a run."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from urllib.parse import urlsplit

from batchspec.diagnostics import Diagnostic, MissingSecret, Secret
from batchspec.spec.convert import duration
from batchspec.spec.model import Notify, NotifyWhen, Webhook
from batchspec.spec.values import BlobUrl, Quoted, Text
from batchspec.spec.yaml_tree import Node

_TIMEOUT = timedelta(seconds=30)
_LONGEST = timedelta(minutes=10)
_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
_SERVER = re.compile(r"(?i)(https?://[^/?#@\s]+)[/?#]")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_FIXED_HEADERS = frozenset({"connection", "content-length", "host", "transfer-encoding"})
"""Headers that follow from the request."""


def build_notify(node: Node) -> Notify:
    """The section. Its rules have been checked."""
    command, when, timeout = node.get("command"), node.get("when"), node.get("timeout")
    hook = node.get("webhook")
    return Notify(
        timeout=duration(str(timeout.value)) or _TIMEOUT if timeout is not None else _TIMEOUT,
        command=_secret(command) if command is not None else None,
        webhook=_webhook(hook) if hook is not None else None,
        when=NotifyWhen(str(when.value)) if when is not None else NotifyWhen.ALWAYS,
    )


def _webhook(node: Node) -> Webhook:
    url = node.get("url") or node
    # The host of a URL with a secret counts as written if the slash after it is.
    begin = url.value.pieces[0] if isinstance(url.value, Text) else f"{url.value}/"
    server = _SERVER.match(begin) if isinstance(begin, str) else None
    return Webhook(
        url=_secret(url),
        server=server[1] if server is not None else "",
        headers={name: _secret(value) for name, value in node.mapping("headers").items()},
    )


def _secret(node: Node) -> Secret:
    """A text of the section, which can contain secrets."""
    if isinstance(node.value, Text):
        return Secret(node.value.resolve(lambda url: url.shown))
    return Secret(str(node.value))


def notify_rules(node: Node) -> Iterator[Diagnostic]:
    """What the schema does not check: the URL, headers, and how long a run waits."""
    timeout, command, hook = node.get("timeout"), node.get("command"), node.get("webhook")
    if not node.wrong and node.members and command is None and hook is None:
        yield Diagnostic(
            "bad-notify",
            "`notify` has neither a command nor a webhook",
            where=node.name,
            fix="Add `command: ./notify.sh` or `webhook: URL`, or remove `notify`.",
        )
    given = timeout.text if timeout is not None else None
    length = duration(given) if given is not None else None
    if timeout is not None and length is not None and not timedelta() < length <= _LONGEST:
        yield Diagnostic(
            "bad-notify",
            "a notification may take at most 10 minutes, and more than 0 seconds",
            detail="The run ends after it.",
            where=timeout.where,
            fix="Write `timeout: 30s`, or another time up to `10m`.",
        )
    if command is not None and _has_blob_url(command):
        yield Diagnostic(
            "bad-notify",
            "the URL of a container cannot be inserted here",
            detail="It is signed for tasks only.",
            where=command.where,
            fix="Use `batchspec cat` or `az storage blob` in the command.",
        )
    if hook is not None and not hook.wrong:
        yield from _url_rules(hook.get("url") or hook)
        for name, value in hook.mapping("headers").items():
            yield from _header_rules(name, value)


def _has_blob_url(node: Node) -> bool:
    return isinstance(node.value, Text) and any(True for _ in node.value.urls())


def _known(node: Node) -> str | None:
    """The value of a text; ``None`` if it is wrong, or a parameter of it has no value."""
    if node.wrong or node.template is not None:
        return None
    if isinstance(node.value, Text):
        if any(isinstance(piece, MissingSecret) for piece in _pieces(node.value)):
            return None
        return node.value.resolve(lambda url: url.shown)
    return node.value if isinstance(node.value, str) else None


def _pieces(text: Text) -> Iterator[object]:
    for piece in text.pieces:
        if isinstance(piece, Quoted):
            yield from _pieces(piece.inner)
        else:
            yield piece


def _url_rules(node: Node) -> Iterator[Diagnostic]:
    if isinstance(node.value, Text) and any(isinstance(p, BlobUrl) for p in node.value.pieces):
        problem = "the URL of a container receives no webhook"
    else:
        url = _known(node)
        problem = _url_problem(url) if url is not None else ""
    if problem:
        yield Diagnostic(
            "bad-webhook",
            problem,
            # The line can contain a password.
            where=replace(node.where, text="") if "user name" in problem else node.where,
            fix="Write the https URL that the receiver shows. Put credentials in `headers`.",
        )


def _url_problem(url: str) -> str:
    """What is wrong with a URL, without its text, which can be a secret."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return "the webhook is not a URL"
    if parts.scheme not in {"https", "http"} or not host:
        return "the webhook is not an https URL"
    if _CONTROL.search(url) or " " in url:
        return "the URL of the webhook contains a blank or a control character"
    if parts.username is not None or parts.password is not None:
        return "the URL of the webhook contains a user name"
    if parts.scheme == "http" and host not in _LOOPBACK:
        return "the webhook would be sent without encryption; http is for this machine only"
    return ""


def _header_rules(name: str, node: Node) -> Iterator[Diagnostic]:
    value = _known(node)
    if not _HEADER.fullmatch(name) or name.lower() in _FIXED_HEADERS:
        problem = f"`{name}` cannot be set as a header"
    elif value is not None and _CONTROL.search(value):
        problem = f"the value of the header `{name}` contains a line break or a control character"
    else:
        return
    yield Diagnostic(
        "bad-webhook",
        problem,
        where=node.name,
        fix="Use the names and values that the receiver documents.",
    )
