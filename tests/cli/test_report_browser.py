"""The report in Chromium: charts are drawn, zoom, search and order work, no request leaves it.

Needs Chromium (`apt-get install chromium`) and Playwright (`uv pip install --group browser`); the
CI job `report` has both.
"""

from __future__ import annotations

import asyncio
import shutil
import socket
from collections.abc import Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from batchspec.api import RecordFiles, RunFolder, read_history, runs_folder, write_page
from batchspec.apply.events import Outcome, RunEnded, RunStarted, Stamped
from tests.cli.test_run_record import AT, JOB, a_task, stream
from tests.render.large_run import record_run

sync_api = pytest.importorskip(
    "playwright.sync_api", reason="playwright is not installed: uv pip install --group browser"
)
_NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next(filter(None, map(shutil.which, _NAMES)), None)
pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="Chromium is not installed: apt-get install chromium"
)

TASKS = 3_000
EVIL = "<img src=http://127.0.0.1:9/x onerror=alert(1)></script><script>alert(2)</script>"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        # Without a user namespace, as in containers, Chromium has no sandbox of its own.
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("large")
    return written(awaited(record_run(folder, TASKS, 20)), folder)


def written(runs: Path, folder: Path) -> Path:
    def command(*words: str) -> str:
        return " ".join(("batchspec", words[0], "run.yaml", *words[1:]))

    page = folder / "page.html"
    write_page(read_history(runs, "x", command=command, retries=True), page)
    return page


def awaited(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """The result of a coroutine; Playwright has an event loop in this thread."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, coroutine).result()


class Opened:
    """A page with everything that it printed, asked and requested."""

    def __init__(self, browser: Any, path: Path, **options: Any) -> None:
        self.page = browser.new_page(**options)
        self.seen: list[str] = []
        self.page.on("console", lambda message: self.seen.append(message.text))
        self.page.on("pageerror", lambda error: self.seen.append(str(error)))
        self.page.on("dialog", lambda dialog: self.seen.append(dialog.message))
        self.page.on("request", lambda request: self.seen.append(request.url))
        self.page.goto(path.as_uri())
        self.page.wait_for_selector("html[data-ready]")
        assert self.seen == [path.as_uri()], "one request, of the page itself"
        self.seen.clear()

    def inked(self, chart: str) -> int:
        """The number of drawn pixels of the canvas of a chart."""
        return int(
            self.page.evaluate(
                """(id) => {
                  const canvas = document.querySelector(`#${id}-chart canvas`);
                  const { width, height } = canvas;
                  const data = canvas.getContext("2d").getImageData(0, 0, width, height).data;
                  let inked = 0;
                  for (let i = 3; i < data.length; i += 4) inked += data[i] > 0;
                  return inked;
                }""",
                chart,
            )
        )

    def count(self) -> str:
        return str(self.page.locator("#tasks-table [role=status]").inner_text())

    def wait_for_count(self, text: str) -> None:
        self.page.locator("#tasks-table [role=status]", has_text=text).wait_for()

    def first_row(self) -> list[str]:
        cells = self.page.locator("#tasks-table tbody tr").first.locator("th, td")
        return [str(text) for text in cells.all_inner_texts()]


@pytest.fixture
def opened(browser: Any, large: Path) -> Iterator[Opened]:
    opened = Opened(browser, large)
    yield opened
    assert opened.seen == [], "no message, no question and no request after that"
    opened.page.close()


def test_every_chart_is_drawn(opened: Opened) -> None:
    for chart in ("timeline", "concurrency", "durations", "steps"):
        assert opened.inked(chart) > 1_000, chart


def test_zoom_shows_a_part_and_can_be_reset(opened: Opened) -> None:
    axis = "#timeline-chart .controls"
    before = opened.page.locator("#timeline-chart canvas").screenshot()
    opened.page.click(f"{axis} [title='Zoom in']")
    opened.page.click(f"{axis} [title='Later']")
    zoomed = opened.page.locator("#timeline-chart canvas").screenshot()
    assert zoomed != before
    opened.page.locator("#timeline-chart .plot").focus()
    opened.page.keyboard.press("0")
    opened.page.mouse.move(0, 0)
    assert opened.page.locator("#timeline-chart canvas").screenshot() == before
    opened.page.keyboard.press("+")
    assert opened.page.locator("#timeline-chart canvas").screenshot() != before


@pytest.mark.parametrize("share", [0.1, 0.9])
def test_the_rows_stay_when_a_part_at_one_end_is_shown(opened: Opened, share: float) -> None:
    chart = opened.page.locator("#timeline-chart .u-over")
    chart.scroll_into_view_if_needed()
    before = opened.page.locator("#timeline-chart canvas").screenshot()
    box = chart.bounding_box()
    edge, y = box["x"] + box["width"] * (0.01 if share < 0.5 else 0.99), box["y"] + 10
    opened.page.mouse.move(edge, y)
    opened.page.mouse.down()
    opened.page.mouse.move(box["x"] + box["width"] * (0.3 if share < 0.5 else 0.7), y, steps=4)
    opened.page.mouse.up()
    assert opened.page.locator("#timeline-chart canvas").screenshot() != before
    assert opened.inked("timeline") > 20_000, "the bars, not only the axis"


def test_search_and_filters_select_tasks(opened: Opened) -> None:
    assert opened.count() == "1 to 50 of 3,000 tasks"
    opened.page.fill("#tasks-search", "sample-000050")
    opened.wait_for_count("of 1 tasks")
    assert "sample-000050" in opened.first_row()[0]
    assert opened.first_row()[3] == "failed: exit-3"
    opened.page.fill("#tasks-search", "")
    opened.page.select_option("#tasks-state", "failed")
    opened.wait_for_count("1 to 31 of 31 tasks")


def test_a_column_orders_the_tasks_up_and_down(opened: Opened) -> None:
    head = opened.page.locator("#tasks-table thead th", has_text="duration")
    head.locator("button").click()
    assert head.get_attribute("aria-sort") == "ascending"
    assert opened.first_row()[6] == "20s"
    head.locator("button").click()
    assert head.get_attribute("aria-sort") == "descending"
    assert opened.first_row()[6] == "36s"
    opened.page.click("#tasks-table >> text=Next")
    assert opened.count() == "51 to 100 of 3,000 tasks"


def test_a_task_shows_its_facts_log_command_and_output(opened: Opened) -> None:
    opened.page.select_option("#tasks-state", "failed")
    opened.wait_for_count("of 31 tasks")
    opened.page.locator("#tasks-table tbody button").first.press("Enter")
    detail = opened.page.locator("#tasks-table .detail").inner_text()
    assert "batchspec logs run.yaml align-sample-000050" in detail
    assert "2026-01-02 03:05:3" in detail
    assert "the reads end too early" in detail
    assert opened.page.evaluate("document.activeElement.getAttribute('aria-expanded')") == "true"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [400, 1280])
def test_the_page_fits_its_window(browser: Any, large: Path, width: int, scheme: str) -> None:
    size = {"width": width, "height": 800}
    opened = Opened(browser, large, viewport=size, color_scheme=scheme)
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= width
    opened.page.emulate_media(media="print")
    opened.page.evaluate("dispatchEvent(new Event('beforeprint'))")
    ink = "getComputedStyle(document.body).color"
    assert opened.page.evaluate(ink) == "rgb(27, 31, 36)", "dark on white in print"
    opened.page.close()


def test_without_scripts_the_tables_remain(browser: Any, large: Path) -> None:
    page = browser.new_page(java_script_enabled=False)
    page.goto(large.as_uri())
    assert "exit-3: 16 tasks" in page.locator("#failures").inner_text()
    assert page.locator("#stages tbody tr").count() == 1
    page.close()


def test_names_and_outputs_are_text_and_nothing_is_requested(browser: Any, tmp_path: Path) -> None:
    def fail(error: OSError) -> None:
        raise error

    run = RunFolder(runs_folder(tmp_path / "s.yaml", "x"), AT, fail)
    run(Stamped(1, AT, RunStarted(EVIL, EVIL, EVIL, EVIL, 1)))
    task = a_task(1, exit_code=4, message=EVIL)
    evil = replace(
        task.facts, id=EVIL, node=EVIL, code=EVIL, marks=replace(task.facts.marks, stage=EVIL)
    )
    awaited(RecordFiles(run).save_tasks(JOB, AT, stream(replace(task, facts=evil, name=EVIL))))
    run.save_output("count-000001", EVIL)
    run(Stamped(2, AT, RunEnded(Outcome.TASKS_FAILED, 1.0, 3, (EVIL,))))
    run.close()
    opened = Opened(browser, written(run.runs, tmp_path))
    opened.page.locator("#tasks-table tbody button").first.click()
    assert EVIL in opened.page.locator("#tasks-table .detail").inner_text()
    assert opened.page.locator("img").count() == 0
    assert opened.seen == []
    # The policy of the page blocks every request, with any content of the page.
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}/x"
        opened.page.evaluate(
            f"document.body.append(Object.assign(new Image(), {{ src: '{url}' }}))"
        )
        sent = f"fetch('{url}').then(() => 'sent', (error) => error.name)"
        assert opened.page.evaluate(sent) == "TypeError"
        server.setblocking(False)
        with pytest.raises(BlockingIOError):
            server.accept()
    assert sum("Content Security Policy" in text for text in opened.seen) >= 2
    opened.page.close()
