"""The request log: a line for each attempt, without signatures."""

from __future__ import annotations

import logging

import pytest

from batchspec.cloud import AccountClient
from batchspec.cloud.pipeline import LOGGER
from tests.cloud.conftest import KEY
from tests.cloud.scripted import Reply, Scripted, refusal


async def test_each_attempt_is_a_line(
    cloud: AccountClient, server: Scripted, caplog: pytest.LogCaptureFixture
) -> None:
    server.on("GET", "/jobs/j/taskcounts", refusal(503, "ServerBusy"), Reply(body={}))
    with caplog.at_level(logging.DEBUG, LOGGER.name):
        await cloud.jobs.get_task_counts("j")
    first, second = caplog.messages
    assert "GET " in first and "/jobs/j/taskcounts -> 503 " in first
    assert " -> 200 " in second and " attempt 2" in second
    assert "api-version" not in caplog.text
    assert KEY.reveal() not in caplog.text


async def test_requests_are_logged_only_with_debug(
    cloud: AccountClient, server: Scripted, caplog: pytest.LogCaptureFixture
) -> None:
    server.on("GET", "/jobs/j/taskcounts", Reply(body={}))
    with caplog.at_level(logging.INFO, LOGGER.name):
        await cloud.jobs.get_task_counts("j")
    assert caplog.messages == []
