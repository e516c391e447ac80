"""Pictures of the report for the documentation, from a real run on the embedded service.

    python -m tools.report_pictures [FOLDER]

Needs Chromium and Playwright (`uv pip install --group browser`). The run has two stages, failures
and a slow task; failed tasks are fixed and retried once.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

from batchspec import local

ROOT = Path(__file__).parents[1]
CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
SIZE = {"width": 1000, "height": 1150}
SPEC = """\
version: 1
name: variants
containers:
  program: {upload: [call.sh]}
  output: {}
pool:
  vm_size: standard_d2s_v5
  nodes: 6
  task_slots_per_node: 2
  image: ubuntu-24.04
  start_task: {command: sleep 1}
job: {max_wall_clock_time: 30m}
tasks:
  call:
    for_each: {range: [0, 160]}
    id: call-{{ value }}
    resources: [program]
    command: sh call.sh {{ value }} > {{ value }}.vcf
    outputs: [{files: "*.vcf", container: output}]
  merge:
    needs: [call]
    id: merge
    command: echo merged
cleanup: {pool: on_success, job: never}
"""
PROGRAM = """\
sleep 0.$((1 + $1 * 7 % 5))
if [ $1 = 61 ]; then sleep 4; fi
if [ $(($1 % 40)) = 17 ]; then echo "sample $1: coverage is 0" >&2; exit 4; fi
echo "$1"
"""
FIXED = PROGRAM.replace("% 40)) = 17", "% 160)) = 137")


def run(place: Path, environ: dict[str, str], *words: str) -> None:
    """Run a command; its tasks may fail."""
    command = [sys.executable, "-m", "batchspec", *words, "--progress", "quiet"]
    subprocess.run(command, cwd=place, env=environ, check=False, stdout=subprocess.DEVNULL)


def photograph(page: Path, to: Path) -> None:
    """Write the charts of the page, and its table of tasks, as pictures."""
    path = next(filter(None, map(shutil.which, CHROMIUM)), None)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        opened = browser.new_page(viewport=SIZE)
        opened.goto(page.as_uri())
        opened.wait_for_selector("html[data-ready]")
        opened.click("#timeline-chart button >> text=Attempt 1")
        top = opened.locator("#timeline").bounding_box()["y"]
        bottom = opened.locator("#durations-chart").bounding_box()
        height = bottom["y"] + bottom["height"] - top
        clip = {"x": 0, "y": top - 16, "width": SIZE["width"], "height": height + 24}
        opened.screenshot(path=to / "report.png", full_page=True, clip=clip)
        opened.locator("#tasks").scroll_into_view_if_needed()
        opened.select_option("#tasks-state", "failed")
        opened.locator("#tasks-table .controls [role=status]").filter(has_text="1 to").wait_for()
        opened.locator("#tasks-table tbody button").first.click()
        opened.locator("#tasks").screenshot(path=to / "report-tasks.png")
        browser.close()


def main() -> None:
    """Run the spec, retry its failures, and write the pictures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", nargs="?", type=Path, default=ROOT / "docs" / "images")
    target: Path = parser.parse_args().folder
    with tempfile.TemporaryDirectory() as name:
        place, home = Path(name), Path(name) / "home"
        (place / "run.yaml").write_text(SPEC, encoding="utf-8")
        (place / "call.sh").write_text(PROGRAM, encoding="utf-8")
        outer = {k: v for k, v in os.environ.items() if not k.startswith(("AZURE_", "BATCHSPEC_"))}
        environ = {**outer, "BATCHSPEC_LOCAL_HOME": str(home), "PYTHONPATH": str(ROOT)}
        try:
            run(place, environ, "apply", "run.yaml", "-y")
            (place / "call.sh").write_text(FIXED, encoding="utf-8")
            run(place, environ, "retry", "run.yaml")
            pages = sorted(place.glob(".batchspec/variants/runs/*/report.html"))
            photograph(pages[-1], target)
        finally:
            local.stop(home)


if __name__ == "__main__":
    main()
