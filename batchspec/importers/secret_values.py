"""Finds secret values in the documents of other tools, and removes them from texts of a spec."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

_URL = re.compile(r"https?://[^\s\"'<>]+", re.IGNORECASE)
_SIGNATURE = re.compile(r"[?&;]sig=", re.IGNORECASE)
_NAME = re.compile(
    r"key|secret|token|passw|pwd|credential|signature|sas(?:$|_)|connection_?string", re.IGNORECASE
)
_CALL = re.compile(r"\[(?:parameters|variables|concat)\(")
"""An expression of a template, which is no value."""
_EXPRESSION = r"\{\{(?:(?!\{\{).)*?\}\}"
"""Without another start in it: the time would grow with the square of the length of a text."""
_SHORT = 8
"""Values with fewer characters occur in other words by chance; they are replaced as a whole."""


def is_secret_name(name: str) -> bool:
    """Whether the name of a variable or parameter says that its value is secret."""
    return _NAME.search(name) is not None


def unsigned(text: str) -> str:
    """A text in which no URL has a signature."""
    return _URL.sub(_without_signature, text)


def _without_signature(url: re.Match[str]) -> str:
    return url[0].partition("?")[0] if _SIGNATURE.search(url[0]) else url[0]


def secret_variables(document: object) -> Iterator[tuple[str, str]]:
    """The environment variables in a document whose names say that their values are secret.

    Variables are objects with a ``name`` and a ``value``, or members of ``environment_variables``.
    """
    if isinstance(document, Mapping):
        members = {str(key).lower(): value for key, value in document.items()}
        variables = members.get("environment_variables")
        named = dict(variables) if isinstance(variables, Mapping) else {}
        if isinstance(members.get("name"), str):
            named[members["name"]] = members.get("value")
        for name, value in named.items():
            text = "" if isinstance(value, bool | Mapping | list) else str(value or "")
            if is_secret_name(str(name)) and text and not _CALL.search(text):
                yield str(name), text
        for each in document.values():
            yield from secret_variables(each)
    elif isinstance(document, list):
        for each in document:
            yield from secret_variables(each)


class SecretRemoval:
    """Removes signatures, and replaces secret values by their parameters, in all texts of a value.

    ``parameters`` are names of parameters by the values.
    """

    def __init__(self, parameters: Mapping[str, str]) -> None:
        self._parameters = {_escaped(value): name for value, name in parameters.items()}
        # The longest first: one value can be the start of another.
        values = sorted(self._parameters, key=len, reverse=True)
        # Expressions last: their own words are no values.
        self._pattern = re.compile("|".join([*map(_pattern, values), _EXPRESSION]), re.DOTALL)

    def __call__(self, value: Any) -> Any:
        """The value without secrets; objects and lists are copied."""
        match value:
            case Mapping():
                return {key: self(item) for key, item in value.items()}
            case list() | tuple():
                return [self(item) for item in value]
            case str():
                return self._pattern.sub(self._replaced, unsigned(value))
        return value

    def _replaced(self, found: re.Match[str]) -> str:
        parameter = self._parameters.get(found[0])
        return found[0] if parameter is None else f"{{{{ {parameter} }}}}"


def _escaped(value: str) -> str:
    """A value as a template has it."""
    return value.replace("{{", "{{ '{{' | raw }}")


def _pattern(value: str) -> str:
    if len(value) >= _SHORT:
        return re.escape(value)
    return rf"(?<![^\s\"'=:,]){re.escape(value)}(?![^\s\"',;:])"
