"""Checks a template by its Jinja syntax tree, without evaluating it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from jinja2 import TemplateSyntaxError, nodes

from batchspec.diagnostics import Diagnostic, did_you_mean
from batchspec.spec.insertion import NESTED_DOUBLE, NESTED_SINGLE, SAFE, UNREAD, reader
from batchspec.spec.sandbox import METHODS, TOO_DEEP, name_path
from batchspec.spec.template import EXPRESSION, Names, position, sandbox
from batchspec.spec.values import Quoting, RefusalError, Template

_STATEMENT = re.compile(
    r"\{%[-+]?\s*(?:if|elif|else|for|set|include|import|from|macro|call|filter|extends|block|raw"
    r"|with|autoescape|end[a-z]+)\b[^\n]*?%\}"
)
_COMMENT = re.compile(r"(?<!\$)\{#[^\n]*?#\}")

_BRACES = re.compile(r"""(?:'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*"|(?!\{\{)[^'"])*(?P<next>\{\{)""")
"""The beginning of the next expression, outside of strings."""
_NAME = re.compile(r"(?P<first>[A-Za-z_]\w*)(?:\.[A-Za-z_]\w*)*")
_LITERAL = "To write `{{` itself, use `{{ '{{' | raw }}`."

_ALLOWED = (
    nodes.Name,
    nodes.Const,
    nodes.Getattr,
    nodes.Getitem,
    nodes.Slice,
    nodes.Filter,
    nodes.Test,
    nodes.Call,
    nodes.CondExpr,
    nodes.BinExpr,
    nodes.UnaryExpr,
    nodes.Compare,
    nodes.Operand,
    nodes.Concat,
    nodes.List,
    nodes.Tuple,
    nodes.Keyword,
)


def problems_of(
    template: Template, names: Names, quoting: Quoting | None
) -> tuple[Diagnostic, ...]:
    """All problems of a template."""
    checker = _Checker(template, names)
    checker.statements()
    tree = checker.tree()
    try:
        if tree is not None:
            checker.expressions(tree)
            if quoting is not None:
                checker.quotes(tree, quoting)
    except RecursionError:
        checker.add("template-syntax", TOO_DEEP, (0, 1))
    return tuple(checker.found)


@dataclass(slots=True)
class _Checker:
    template: Template
    names: Names
    found: list[Diagnostic] = field(default_factory=list)

    def statements(self) -> None:
        """Refuse Jinja statements and comments, which would reach the shell as literal text."""
        for match in _STATEMENT.finditer(self.template.source):
            self.add(
                "template-statement",
                "Jinja statements are not supported in a template",
                (match.start(), len(match.group())),
                "Write a condition as `{{ a if x else b }}` and a loop as `for_each`.",
            )
        for match in _COMMENT.finditer(self.template.source):
            self.add(
                "template-statement",
                "Jinja comments are not supported in a template",
                (match.start(), len(match.group())),
                "Write a YAML comment: `# ...`.",
            )

    def tree(self) -> nodes.Template | None:
        """The syntax tree; ``None`` after a syntax error."""
        if "\0" in self.template.source:
            self.add("template-syntax", "a template cannot contain a NUL character", (0, 1))
            return None
        try:
            return sandbox().parsed(self.template.source)
        except TemplateSyntaxError as error:
            start, length = self._broken()
            source = self.template.source[start : start + length]
            # Another expression begins inside, so the first expression is not closed.
            nested = _BRACES.match(source, 2)
            if nested is not None or not source.endswith("}}"):
                end = nested.start("next") if nested is not None else length
                unclosed = source[:end].rstrip()
                span = (start, len(unclosed))
                fix = self._closed(unclosed)
                self.add("template-syntax", "the closing `}}` is missing", span, fix)
            else:
                summary = f"syntax error in the expression: {_sentence(error)}"
                self.add("template-syntax", summary, (start, length), _LITERAL)
        except RefusalError as error:
            self.add("template-syntax", error.summary, (0, 1), error.fix)
        except RecursionError:
            self.add("template-syntax", TOO_DEEP, (0, 1))
        return None

    def _closed(self, source: str) -> str:
        """The fix for an expression without its closing braces."""
        expression = source[2:].partition("\n")[0].strip().removesuffix("}").rstrip()
        name = _NAME.match(expression)
        if name is None:
            return _LITERAL
        known = self.names.open or name["first"] in self.names.known
        if not _is_expression(expression):
            expression = name[0]
            if not known:
                return _LITERAL
        close = f"Close it: `{{{{ {expression} }}}}`."
        return close if known else f"{close} {_LITERAL}"

    def expressions(self, tree: nodes.Template) -> None:
        """Check each expression."""
        spans = [(m.start(), m.end()) for m in EXPRESSION.finditer(self.template.source)]
        for number, expression in enumerate(_expressions(tree)):
            span = spans[number] if number < len(spans) else (0, 1)
            _Expression(self, span).visit(expression)

    def quotes(self, tree: nodes.Template, quoting: Quoting) -> None:
        """Refuse values in places where the shell would interpret them."""
        shell = reader(quoting)
        parts = [child for output in tree.body for child in output.iter_child_nodes()]
        spans = iter([(m.start(), m.end()) for m in EXPRESSION.finditer(self.template.source)])
        for part, following in zip(parts, [*parts[1:], None], strict=False):
            if isinstance(part, nodes.TemplateData):
                shell.read(part.data)
                continue
            start, end = next(spans, (0, 1))
            after = following.data if isinstance(following, nodes.TemplateData) else ""
            context = shell.value(after)
            if context in SAFE or _ends_in(part, "raw"):
                continue
            nested = context in (NESTED_SINGLE, NESTED_DOUBLE)
            if nested and _ends_in(part, "quote"):
                continue
            detail = "The shell there would interpret the value."
            fix = "Move the expression, or insert the value unquoted with `| raw`."
            if nested:
                fix = "Write `{{ value | quote }}` to insert it as an argument of that shell."
            elif context == UNREAD:
                detail = "Shells read this part differently: the value could end its quotes."
                fix = 'Set a variable in `env`, and write `"$NAME"` instead of the expression.'
            summary = f"an expression cannot be inserted {context}"
            self.add("quoted-expression", summary, (start, end - start), fix, detail)

    def _broken(self) -> tuple[int, int]:
        """Offset and length of the first expression with a syntax error."""
        end = 0
        for match in EXPRESSION.finditer(self.template.source):
            end = match.end()
            try:
                sandbox().parse(match.group())
            except (TemplateSyntaxError, ValueError, RecursionError):
                return match.start(), len(match.group())
        offset = max(0, self.template.source.find("{{", end))
        return offset, len(self.template.source) - offset

    def add(
        self, code: str, summary: str, span: tuple[int, int], fix: str = "", detail: str = ""
    ) -> None:
        """Report a problem; ``span`` is offset and length in the source."""
        where = position(self.template, *span)
        self.found.append(Diagnostic(code, summary, detail, where, fix))


@dataclass(slots=True)
class _Expression:
    """Checks one expression; ``span`` is its start and end in the source."""

    checker: _Checker
    span: tuple[int, int]
    seen: set[tuple[str, ...]] = field(default_factory=set)

    def visit(self, node: nodes.Node) -> None:
        """Check a node and all nodes below it."""
        if not isinstance(node, _ALLOWED):
            kind = type(node).__name__.lower()
            self._add("template-syntax", f"{kind} is not supported in an expression", ())
            return
        sandbox_ = sandbox()
        if isinstance(node, nodes.Filter):
            self._known("filter", node.name, sandbox_.filters)
        elif isinstance(node, nodes.Test):
            self._known("test", node.name, sandbox_.tests)
        elif isinstance(node, nodes.Call):
            self._call(node)
            return
        elif (path := name_path(node)) is not None:
            self._name(path)
            return
        for child in node.iter_child_nodes():
            self.visit(child)

    def _call(self, node: nodes.Call) -> None:
        called = node.node
        if isinstance(called, nodes.Getattr) and called.attr in METHODS:
            self.visit(called.node)
        else:
            path = name_path(called) or ()
            self._add(
                "template-call",
                f"`{'.'.join(path) or 'this'}` is not a function",
                path,
                "Use a filter: `{{ value | filter }}`.",
            )
        for child in (*node.args, *node.kwargs):
            self.visit(child)

    def _known(self, kind: str, name: str, known: object) -> None:
        names = [str(k) for k in known] if isinstance(known, dict) else []
        if name not in names:
            fix = did_you_mean(name, names)
            self._add(f"unknown-{kind}", f"`{name}` is not a {kind}", (name,), fix)

    def _name(self, path: tuple[str, ...]) -> None:
        """Check a path of names."""
        below = self.checker.names
        for depth, name in enumerate(path):
            if name in below.known:
                below = below.known[name]
                continue
            if below.open:
                return
            if depth and not below.known and depth == len(path) - 1 and name in METHODS:
                return
            self._unknown(path, depth, below)
            return

    def _unknown(self, path: tuple[str, ...], depth: int, below: Names) -> None:
        above, name = ".".join(path[:depth]), path[depth]
        summary = f"`{above}` has no member `{name}`" if above else f"`{name}` is not defined here"
        known = sorted(below.known)
        fix = did_you_mean(name, known)
        if not fix and known:
            fix = "Use " + ", ".join(f"`{k}`" for k in known) + "."
        if not fix and above:
            fix = f"Write `{above}`: it is a single value."
        if path not in self.seen:
            self.seen.add(path)
            self._add("unknown-name", summary, path[: depth + 1], fix)

    def _add(self, code: str, summary: str, path: tuple[str, ...], fix: str = "") -> None:
        self.checker.add(code, summary, self._find(path), fix)

    def _find(self, path: tuple[str, ...]) -> tuple[int, int]:
        """Start and length of the last name of a path, or else of the whole expression."""
        start, end = self.span
        if path:
            dots = r"\s*(?:\.\s*|\[\s*['\"])".join(map(re.escape, path[:-1]))
            between = r"\s*(?:\.\s*|\[\s*['\"])" if path[:-1] else ""
            pattern = rf"(?<![\w.]){dots}{between}(?P<last>{re.escape(path[-1])})(?!\w)"
            found = re.compile(pattern).search(self.checker.template.source, start, end)
            if found:
                return found.start("last"), len(path[-1])
        return start, end - start


def _is_expression(text: str) -> bool:
    """Whether a text is valid between the braces of an expression."""
    try:
        sandbox().parse(f"{{{{ {text} }}}}")
    except (TemplateSyntaxError, ValueError, RecursionError):
        return False
    return True


def _expressions(tree: nodes.Template) -> Iterator[nodes.Node]:
    for output in tree.body:
        for child in output.iter_child_nodes():
            if not isinstance(child, nodes.TemplateData):
                yield child


def _ends_in(node: nodes.Node, name: str) -> bool:
    """Whether an expression ends in a filter."""
    if isinstance(node, nodes.CondExpr):
        both = node.expr2 is not None and _ends_in(node.expr2, name)
        return both and _ends_in(node.expr1, name)
    return isinstance(node, nodes.Filter) and node.name == name


def _sentence(error: TemplateSyntaxError) -> str:
    text = (error.message or "it is not valid").rstrip(".")
    text = text.replace("'end of print statement'", "`}}`").replace("end of template", "end")
    return text[:1].lower() + text[1:]
