"""The pytest plugin: ``pytest_plugins = ['yolox_trt_ros.testing.plugin']`` in a conftest.py."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from yolox_trt_ros.testing.results import Replayed

FOLDER = 'goldens'


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare ``--update-goldens``."""
    parser.getgroup('yolox_trt_ros').addoption(
        '--update-goldens',
        action='store_true',
        help='write what replays find as their goldens, instead of comparing',
    )


@pytest.fixture
def golden(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., None]:
    """Return ``golden(replayed, name='', **tolerances)``.

    It compares a replay with ``goldens/<test>[.<name>].json`` beside the test's file, and fails
    with the path of a picture of what changed. With ``--update-goldens`` it writes that file.
    """
    test = re.sub(r'[^\w.-]+', '_', request.node.name).strip('_')
    folder = request.path.parent / FOLDER

    def compare(replayed: Replayed, name: str = '', **tolerances: Any) -> None:
        from yolox_trt_ros.testing.golden import check

        __tracebackhide__ = True
        file = folder / f'{test}{f".{name}" if name else ""}.json'
        update = request.config.getoption('--update-goldens')
        check(replayed, file, update=update, pictures=tmp_path, **tolerances)

    return compare
