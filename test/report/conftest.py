"""One drive for all tests of the report."""

from pathlib import Path

import pytest
from drive import drive, write_bag

from yolox_trt_ros.report.gather import Gatherer
from yolox_trt_ros.report.recording import Recording


@pytest.fixture(scope='session')
def recording() -> Recording:
    gatherer = Gatherer(labels=('car', 'bus'))
    for _, topic, message in drive():
        *_, camera, kind = topic.split('/')
        if kind == 'latency':
            gatherer.add_latency(message)
        elif kind == 'status':
            gatherer.add_status(message)
        elif kind == 'detections':
            gatherer.add_detections(camera, message)
    return gatherer.recording('a <drive>')


@pytest.fixture(scope='session')
def bag(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bag(tmp_path_factory.mktemp('bags') / 'drive', drive())
