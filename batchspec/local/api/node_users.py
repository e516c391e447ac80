"""User accounts of compute nodes: kept by name until they expire, and nobody can log in with one.

What lives here: the three operations. What may not: a password or a key, which are never kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote

from batchspec.local.api.context import Context
from batchspec.local.api.find import ask, find_node
from batchspec.local.model.life import NODE
from batchspec.local.model.record import Node
from batchspec.local.wire.fault import Fault, bad_property
from batchspec.local.wire.reply import Reply, created, done
from batchspec.local.wire.request import Request
from batchspec.local.wire.times import read_time, write_time

_LIFETIME = timedelta(days=1)
_LONGEST = 64


def create_node_user(context: Context, request: Request) -> Reply:
    """``POST .../users``: an account that expires after a day, unless it says when."""
    given = request.shape("BatchNodeUserCreateOptions")
    name: str = given["name"]
    if not 1 <= len(name) <= _LONGEST:
        raise bad_property("name", name[:256], f"The value must have 1 to {_LONGEST} characters.")
    node = _ready(context, request)
    users = _users(node, request.now)
    if name in users:
        raise Fault("NodeUserExists")
    _keep(context, node, {**users, name: _expiry(given, request.now)}, request.now)
    return created(f"{request.url}/{quote(name, safe='')}", None)


def replace_node_user(context: Context, request: Request) -> Reply:
    """``PUT .../users/{userName}``: what is not given is as if it were new."""
    given = request.shape("BatchNodeUserReplaceOptions")
    node, users, name = _known(context, request)
    _keep(context, node, {**users, name: _expiry(given, request.now)}, request.now)
    return done(200, request.url)


def delete_node_user(context: Context, request: Request) -> Reply:
    """``DELETE .../users/{userName}``."""
    node, users, name = _known(context, request)
    _keep(context, node, {user: end for user, end in users.items() if user != name}, request.now)
    return done(200, None)


def _ready(context: Context, request: Request) -> Node:
    node = find_node(context, request)
    ask(NODE, "users", node.state)
    return node


def _known(context: Context, request: Request) -> tuple[Node, dict[str, str], str]:
    node = _ready(context, request)
    users, name = _users(node, request.now), request.parameters["userName"]
    if name not in users:
        raise Fault("NodeUserNotFound")
    return node, users, name


def _users(node: Node, now: datetime) -> dict[str, str]:
    """The accounts that have not expired, each with the time when it does."""
    kept: Mapping[str, str] = node.detail.get("users", {})
    return {name: end for name, end in kept.items() if read_time(end) > now}


def _expiry(given: Mapping[str, Any], now: datetime) -> str:
    if "expiryTime" not in given:
        return write_time(now + _LIFETIME)
    expiry: str = given["expiryTime"]
    if read_time(expiry) <= now:
        raise bad_property("expiryTime", expiry, "The value must be in the future.")
    return expiry


def _keep(context: Context, node: Node, users: Mapping[str, str], now: datetime) -> None:
    context.store.nodes.move(node, node.state, now, detail={**node.detail, "users": users})
