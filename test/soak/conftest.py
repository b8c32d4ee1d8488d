"""The soak test takes two minutes and little CPU time: it runs beside the other tests."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SOAK = Path(__file__).parent / 'soak.py'
TEST = 'test_two_minutes_of_cameras'
SECONDS = 120
_running = pytest.StashKey[subprocess.Popen[str]]()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Ask for the soak test's result last."""
    items.sort(key=lambda item: item.name == TEST)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Start the soak test, if it is one of those that will run."""
    chosen = any(item.name == TEST for item in session.items)
    if chosen and not session.config.option.collectonly:
        command = [sys.executable, str(SOAK), '--seconds', str(SECONDS), '--size', '320', '240']
        session.config.stash[_running] = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )


@pytest.fixture
def soak(pytestconfig: pytest.Config) -> subprocess.Popen[str]:
    """Return the running soak test."""
    return pytestconfig.stash[_running]


def pytest_sessionfinish(session: pytest.Session) -> None:
    """End a soak test that nobody waited for."""
    process = session.config.stash.get(_running, None)
    if process and process.poll() is None:
        process.terminate()
        process.wait()
