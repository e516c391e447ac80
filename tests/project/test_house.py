"""Structure of the code: sizes, names, and no trace of the machine it was written on."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

import batchspec

ROOT = Path(__file__).parents[2]

LONG_FILES: dict[str, str] = {}
"""Files that may be longer, each with the reason."""

REGISTRIES = re.compile(
    r"https?://[^\s\"'/]*(?:pypi|pythonhosted|npmjs|yarnpkg|debian\.org)", re.IGNORECASE
)


def tracked(*patterns: str) -> list[Path]:
    """The files in git, and new ones that are not ignored."""
    line = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *patterns]
    listed = subprocess.run(line, cwd=ROOT, capture_output=True, check=False)
    if listed.returncode != 0:
        pytest.skip("not a git work tree")
    names = {name for name in listed.stdout.decode().split("\0") if name}
    return sorted(path for path in (ROOT / name for name in names) if path.is_file())


IMPORT = re.compile(r"^ *from (batchspec[\w.]*) import (?:\(([^)]*)\)|(.*))$", re.MULTILINE)


def imports(source: str) -> Iterator[tuple[str, list[str]]]:
    """The modules of the product from which a source imports, each with the imported names."""
    for found in IMPORT.finditer(source):
        names = re.sub(r"#.*", "", found[2] or found[3]).split(",")
        yield found[1], [name.split()[0] for name in names if name.strip()]


def test_no_file_is_too_long() -> None:
    """Nine modules in ten have at most 500 lines, and none has more than 600."""
    modules = tracked("batchspec/**.py")
    lengths = sorted(len(path.read_text(encoding="utf-8").splitlines()) for path in modules)
    assert lengths[len(lengths) * 9 // 10] <= 500
    long = {
        path.relative_to(ROOT).as_posix(): lines
        for path in (*modules, *tracked("task_app/*.py", "tools/*.py", "benchmarks/*.py"))
        if (lines := len(path.read_text(encoding="utf-8").splitlines()))
        > (600 if path in modules else 500)
    }
    assert set(long) - set(LONG_FILES) == set(), long
    assert set(LONG_FILES) - set(long) == set(), "no longer long: remove it from the list"
    assert len(LONG_FILES) <= 3
    assert all(LONG_FILES.values())


SEPARATE = {
    "batchspec/cli/versions.py": "it is imported only for `--version -v`",
}
"""Short modules with one importer that stay, each with the reason."""
SHORT, MERGED = 150, 480
"""Lines of a short module, and the most that its importer has with them."""


def test_no_module_is_a_fragment_of_another() -> None:
    """A short module that one module of its package imports belongs to it, if there is room."""
    sources = {path: path.read_text(encoding="utf-8") for path in tracked("batchspec/**.py")}
    importers: dict[str, set[Path]] = {}
    for path, source in sources.items():
        for module, names in imports(source):
            for name in (module, *(f"{module}.{name}" for name in names)):
                importers.setdefault(name, set()).add(path)
    fragments = []
    for path, source in sources.items():
        name = path.relative_to(ROOT).as_posix()
        found = importers.get(name.removesuffix(".py").replace("/", "."), set())
        length = len(source.splitlines())
        if length > SHORT or len(found) != 1:
            continue
        (importer,) = found
        together = length + len(sources[importer].splitlines())
        # A face imports the modules of its package.
        is_face = importer.stem == "__init__"
        if importer.parent == path.parent and not is_face and together <= MERGED:
            fragments.append(name)
    assert set(fragments) - set(SEPARATE) == set(), "merge them into the modules that import them"
    assert set(SEPARATE) - set(fragments) == set(), "no longer fragments: remove them from the list"


FACES_FIRST = (
    *("account", "api", "autoscale", "catalog", "cli", "importers", "pricing"),
    *("property_rules", "render", "spec"),
)
"""Packages from whose public face tests import every name that it exports."""
INTERNAL_IMPORTS = 604
"""Imports of modules inside packages that tests, and programs in tests, may have; lower it when
there are fewer."""


def public_names(face: Path) -> set[str]:
    """The names that a face lists, or that it imports from its package."""
    package = ".".join(face.relative_to(ROOT).parent.parts)
    if (listed := getattr(import_module(package), "__all__", None)) is not None:
        return set(listed)
    tree = ast.parse(face.read_text(encoding="utf-8"))
    later = [node for each in tree.body if isinstance(each, ast.If) for node in each.body]
    return {
        one.name
        for node in (*tree.body, *later)
        if isinstance(node, ast.ImportFrom) and f"{node.module}.".startswith(f"{package}.")
        for one in node.names
    }


@pytest.mark.parametrize("face", tracked("batchspec/*/**__init__.py"), ids=str)
def test_every_name_of_a_face_can_be_imported(face: Path) -> None:
    package = import_module(".".join(face.relative_to(ROOT).parent.parts))
    assert [name for name in public_names(face) if not hasattr(package, name)] == []


def test_tests_import_from_the_public_faces() -> None:
    found, around = 0, []
    names = {name: public_names(ROOT / "batchspec" / name / "__init__.py") for name in FACES_FIRST}
    for path in tracked("tests/**.py"):
        for name, imported in imports(path.read_text(encoding="utf-8")):
            _, package, inside, *_ = f"{name}..".split(".")
            found += bool(inside)
            if not inside or package not in FACES_FIRST:
                continue
            face, module = import_module(f"batchspec.{package}"), import_module(name)
            around += [
                f"{path.relative_to(ROOT)}: {one}"
                for one in names[package].intersection(imported)
                if getattr(face, one) is getattr(module, one)
            ]
    assert around == [], "import them from the package"
    assert 0 < found <= INTERNAL_IMPORTS


def test_no_module_has_a_generic_name() -> None:
    generic = {"utils", "util", "helpers", "helper", "common", "manager", "misc"}
    names = {path: {path.stem, path.parent.name} for path in tracked("batchspec/**.py")}
    assert [path for path, parts in names.items() if parts & generic] == []


DOCSTRING = re.compile(r"(?:#.*\n|\s)*(?:r?\"\"\"|\Z)")
"""The start of a module with a docstring, or all of an empty one."""


def test_every_module_has_a_docstring() -> None:
    modules = tracked("batchspec/**.py", "tools/*.py", "benchmarks/*.py", "tests/**.py")
    missing = [
        path.relative_to(ROOT).as_posix()
        for path in modules
        if DOCSTRING.match(path.read_text(encoding="utf-8")) is None
    ]
    assert missing == []


def test_only_render_and_cli_print() -> None:
    printing = []
    for path in tracked("batchspec/**.py"):
        package = path.relative_to(ROOT / "batchspec").parts[0]
        if package in ("render", "cli") or "print(" not in path.read_text(encoding="utf-8"):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            called = node.func if isinstance(node, ast.Call) else None
            if isinstance(called, ast.Name) and called.id == "print":
                printing.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert printing == []


def test_nothing_names_this_machine_or_a_registry() -> None:
    # A project at /src, or a home at /, would match everywhere.
    homes = [str(place) for place in (ROOT, Path.home()) if str(place) not in ("/", "/src")]
    places = re.compile("|".join(rf"(?<![\w.-]){re.escape(home)}/\.?\w" for home in homes) or "$^")
    found = []
    for path in tracked():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        if path != Path(__file__) and (REGISTRIES.search(text) or places.search(text)):
            found.append(path.relative_to(ROOT).as_posix())
    assert found == []


def test_the_version_is_in_one_place() -> None:
    pyproject = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert '[tool.hatch.version]\npath = "batchspec/version.py"\n' in pyproject
    assert '\nversion = "' not in pyproject
    source = (ROOT / "batchspec" / "version.py").read_text(encoding="utf-8")
    assert f'\n__version__ = "{batchspec.__version__}"\n' in source
