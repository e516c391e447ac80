"""The results for real texts: those of the repository, and the licences that Debian ships."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest

from tests.task_app.conftest import command
from tests.task_app.naive import naive_count

ROOT = Path(__file__).parents[2]
LICENCES = Path("/usr/share/common-licenses")


def texts(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.glob("*")) if path.is_file() and not path.is_symlink()]


def right_result(path: Path, number: int) -> list[str]:
    text = path.read_text(encoding="utf-8")
    counts = naive_count(text, len(text)).items()
    ordered = sorted(sorted(counts), key=lambda item: item[1], reverse=True)
    return [f"{word}\t{count}" for word, count in ordered[:number]]


@pytest.mark.parametrize("folder", [ROOT / "specs" / "data", LICENCES], ids=lambda path: path.name)
def test_results_are_those_of_an_independent_count(folder: Path, tmp_path: Path) -> None:
    found = texts(folder)
    if not found:
        pytest.skip(f"no {folder}")
    for path in found:
        copy = tmp_path / path.name
        copy.write_bytes(path.read_bytes())
        done = command(copy.name, 3, cwd=tmp_path)
        assert done.stdout.splitlines()[1:] == right_result(path, 3), path.name


def test_the_texts_of_the_tutorial_are_worth_counting(topn: ModuleType) -> None:
    found = texts(ROOT / "specs" / "data")
    assert len(found) == 3
    tops = []
    for path in found:
        words, encoding = topn.count_file(path)
        assert (encoding.codec, encoding.remark) == ("utf-8", "")
        assert 300 <= sum(words.values()) <= 800
        tops.append(tuple(word for word, _ in topn.most_frequent(words, 3)))
    assert len(set(tops)) == 3
