"""Messages of somebody else in a report: no name runs as script, no number ends the page."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace as Message
from typing import Any

import cv2
import numpy as np
import pytest
from drive import T0, found, latency, status
from hostile_messages import array

from yolox_trt_ros.cli.page import sample
from yolox_trt_ros.core.errors import ConfigError
from yolox_trt_ros.core.messages import MOST_CLASSES, names_of
from yolox_trt_ros.evaluation.judge import Judge
from yolox_trt_ros.report.findings import figures, findings
from yolox_trt_ros.report.gather import Gatherer
from yolox_trt_ros.report.page import html
from yolox_trt_ros.report.picture import png
from yolox_trt_ros.report.recording import Quality, Recording, Sample

RUN = "document.documentElement.setAttribute('data-run','yes')"
NAMES = (
    f'<script>{RUN}</script>',
    f'"><img src=x onerror="{RUN}">',
    f"' onpointermove='{RUN}' x='",
    f'</style></script><svg onload="{RUN}">',
    f'{{{{ 7 * 7 }}}}<a href="javascript:{RUN}">',
    '&lt;b&gt; \x1b[31m \x00 \u202e ]]> <!--',
)


def jpeg(height: int, width: int) -> bytes:
    return cv2.imencode('.jpg', np.full((height, width, 3), 77, np.uint8))[1].tobytes()


@pytest.fixture(scope='module')
def hostile() -> Recording:
    """Return a recording in which every text is hostile."""
    gatherer = Gatherer(None, NAMES)
    for i in range(8):
        for name in NAMES:
            traced = latency('front', T0 + i * 10**8, 300, name)
            traced.camera = name
            gatherer.add_latency(traced)
            gatherer.add_detections(name, found('front', T0, ((1.0, 1.0, 9.0, 9.0), 0.5, i % 2)))
        seen = status(T0 + i * 10**9, 100 * i, 30 * i, state='open' if i % 2 else NAMES[0])
        seen.placement_reason = ' '.join(NAMES)
        for camera, name in zip(seen.cameras, NAMES, strict=False):
            camera.name, camera.lane, camera.message = name, NAMES[i % 6], f'{name}; 9 Hz'
            camera.level, camera.drop_reasons = i % 4, [NAMES[0], name]
        seen.lanes[0].name, seen.lanes[0].note, seen.lanes[0].failures = NAMES[1], NAMES[2], i
        gatherer.add_status(seen)
    samples = [Sample(name, T0, 3, jpeg(6, 8)) for name in NAMES]
    quality = [Quality(name, 4, 4, 0.5, None) for name in NAMES]
    return gatherer.recording(NAMES[0], samples, quality)


def test_no_name_is_markup(hostile: Recording) -> None:
    page = html(hostile)
    assert not hostile.unusable
    for name in NAMES[:5]:
        assert name not in page
    assert page.count('<script') == 1 and '<img src=x' not in page and '>49<' not in page
    assert '\x1b' not in page and '\x00' not in page and '\u202e' not in page
    assert "script-src 'sha256-" in page.split('<title>')[0]
    assert png(hostile)


@pytest.mark.skipif(not shutil.which('chromium'), reason='no chromium: apt install chromium')
def test_no_name_runs_in_a_browser(hostile: Recording, tmp_path: Path) -> None:
    def dom(page: str, name: str) -> str:
        file = tmp_path / name
        file.write_text(page)
        command = ['chromium', '--headless', '--no-sandbox', '--disable-gpu', '--dump-dom']
        command += [f'--user-data-dir={tmp_path / "profile"}', '--enable-logging=stderr']
        done = subprocess.run(
            [*command, f'file://{file}'], capture_output=True, text=True, timeout=100, check=True
        )
        assert 'Uncaught' not in done.stderr
        return done.stdout

    seen = dom(html(hostile), 'page.html')
    assert 'data-run' not in seen.partition('>')[0] + seen.split('<html')[1].partition('>')[0]
    assert seen.count('class="wide"') == 9, 'the whole page is there'
    # The page's own policy stops what would get past the escapes, and its own script runs.
    leak = html(hostile).replace(
        '<main>', f'<script>{RUN}</script><img src=x onerror="{RUN}"><main>'
    )
    assert 'data-run' not in dom(leak, 'leak.html').split('<html')[1].partition('>')[0]
    assert '<style></style></head>' in seen, 'the page’s script has run'


@pytest.mark.parametrize(
    'change',
    [
        {'level': 7}, {'drop_counts': [1]}, {'drop_reasons': []}, {'rate_in_hz': float('nan')},
        {'deadline_ms': float('inf')}, {'received': 2**63}, {'drop_counts': [2**64, -1]},
    ],
    ids=str,
)  # fmt: skip
def test_a_status_that_no_node_sends_is_counted(change: dict[str, Any]) -> None:
    gatherer = Gatherer()
    for i in range(3):
        gatherer.add_status(status(T0 + i * 10**9, 10 * i, i))
    good = status(T0 + 10**9, 5, 1)
    fields = {n: getattr(good.cameras[0], n) for n in good.cameras[0].get_fields_and_field_types()}
    camera = Message(**{**fields, **change})
    gatherer.add_status(
        Message(header=good.header, cameras=[camera], lanes=[], placement_reason='x')
    )
    recording = gatherer.recording('x')
    assert sum(recording.unusable.values()) == 1 and len(recording.statuses) == 3
    assert 'could not be used' in html(recording) and png(recording)


@pytest.mark.parametrize('utilisation', [float('inf'), float('nan'), -3.0, 1e300])
def test_utilisation_of_any_number(utilisation: float) -> None:
    gatherer = Gatherer()
    for i in range(3):
        one = status(T0 + i * 10**9, 10 * i, i)
        one.lanes[0] = Message(
            name='gpu', state='running', note='', device='cpu', failures=0, utilisation=utilisation
        ) if i == 1 else one.lanes[0]  # fmt: skip
        gatherer.add_status(
            Message(header=one.header, cameras=one.cameras, lanes=one.lanes, placement_reason='')
        )
    assert html(gatherer.recording('x')) and png(gatherer.recording('x'))


@pytest.mark.parametrize(
    'change',
    [{'age_ns': 2**63}, {'age_ns': -(2**63)}, {'infer_ns': 2**62}, {'queue_ns': -1},
     {'drops': 2**70}],
    ids=str,
)  # fmt: skip
def test_a_latency_that_no_node_sends_is_counted(change: dict[str, int]) -> None:
    gatherer = Gatherer()
    good = latency('front', T0, 3)
    fields = {name: getattr(good, name) for name in good.get_fields_and_field_types()}
    gatherer.add_latency(Message(**{**fields, **change}))
    gatherer.add_latency(good)
    recording = gatherer.recording('x')
    assert gatherer.results == 1 and sum(recording.unusable.values()) == 1
    assert html(recording) and png(recording)


def test_names_without_end_do_not_fill_the_page() -> None:
    gatherer = Gatherer()
    for i in range(300):
        traced = latency(f'camera{i}', T0 + i, 3, lane=f'lane{i}' + 'x' * 10_000)
        gatherer.add_latency(traced)
    recording = gatherer.recording('x')
    assert len(recording.cameras) == 64 and sum(recording.unusable.values()) == 300 - 64
    assert len(html(recording)) < 10_000_000


@pytest.mark.parametrize('size', [(16384, 1), (1, 16384)])
def test_samples_of_odd_sizes_stay_small(size: tuple[int, int], recording: Recording) -> None:
    from yolox_trt_ros.core.detections import Detections
    from yolox_trt_ros.core.frame import Frame

    height, width = size
    data = np.zeros(height * width * 3, np.uint8)
    frame = Frame('front', 0, T0, 0, '', 'bgr8', height, width, width * 3, data)
    taken = sample('front', frame, Detections.empty(), ['car'])
    small = cv2.imdecode(np.frombuffer(taken.jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert small.shape[0] <= 1280 and small.shape[1] <= 640
    raw = Sample('front', T0, 0, jpeg(height, width))
    picture = cv2.imdecode(
        np.frombuffer(png(replace(recording, samples=(raw, taken))), np.uint8), cv2.IMREAD_COLOR
    )
    assert picture.shape[0] < 6000


def test_truth_without_hypotheses_is_counted() -> None:
    judge = Judge(['car', 'bus'], ['car', 'bus'])
    judge.add_found('front', array(class_id='1'))
    judge.add_truth('front', array(hypotheses=0))
    judge.add_found('front', array(class_id='9' * 5000))
    assert [line.split(':')[0] for line in judge.left_out()] == [
        '1 messages could not be used and are left out'
    ] * 2
    with pytest.raises(ConfigError, match='1 messages cannot be used: '):
        judge.check_usable()


FOREIGN = (
    Message(),
    Message(detections=3, header=3, class_map=3),
    Message(
        header=Message(stamp=Message(sec=[], nanosec='')),
        detections=[Message(bbox=None)],
        class_map=[Message(class_id='x', class_name=3)],
    ),
    'text',
)
"""A bag brings the definitions of its types along, and may call anything by any name."""


@pytest.mark.parametrize('message', FOREIGN)
def test_messages_with_fields_of_another_type_are_counted(message: Any) -> None:
    judge, gatherer = Judge(['car', 'bus'], ['car', 'bus']), Gatherer()
    judge.add_truth('front', message)
    gatherer.add_detections('front', message)
    with pytest.raises(ConfigError, match='expected the fields of vision_msgs/LabelInfo'):
        names_of(message)
    assert gatherer.unusable.total() >= 1
    assert html(gatherer.recording('a bag'))
    judge.add_found('front', message)
    assert judge.unusable.total() == 2


@pytest.mark.parametrize('number', [-1, MOST_CLASSES, 2**62])
def test_a_class_of_a_huge_number_takes_no_memory(number: int) -> None:
    info = Message(class_map=[Message(class_id=number, class_name='car')])
    with pytest.raises(ConfigError, match='numbers of classes from 0 to 65535'):
        names_of(info)


def test_clocks_that_jump_leave_no_age_of_nan() -> None:
    gatherer = Gatherer()
    for stamp in (T0, T0 + 10**18, T0 - 10**18):
        gatherer.add_latency(latency('front', stamp, 3))
        gatherer.add_status(status(stamp, 1, 0))
    recording = gatherer.recording('')
    messages = [*(f.text for f in findings(recording)), *(str(f) for f in figures(recording))]
    assert not any('nan' in text for text in messages)
