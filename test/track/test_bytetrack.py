"""ByteTrack with arrays gives the numbers of the library that it follows."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from yolox_trt_ros.core.camera_config import CameraConfig
from yolox_trt_ros.core.config import Config, TrackingConfig
from yolox_trt_ros.core.detections import Detections
from yolox_trt_ros.core.frame import Frame
from yolox_trt_ros.track.bytetrack import NO_ID, ByteTrack, overlaps
from yolox_trt_ros.track.cameras import CameraTracks, tracked

pytest.importorskip('scipy', reason='make setup installs SciPy')
ORACLE = json.loads((Path(__file__).parent / 'trackers_2_6.json').read_text())
MS = 1_000_000
HERE = [[10, 10, 50, 60], [200, 80, 260, 120]]


def found(boxes: list[list[float]], scores: list[float] | None = None) -> Detections:
    n = len(boxes)
    xyxy = np.array(boxes, np.float32).reshape(n, 4)
    given_scores = np.array([0.9] * n if scores is None else scores, np.float32)
    return Detections(xyxy, given_scores, np.zeros(n, np.int32), ('car',))


def tracker(**options: Any) -> ByteTrack:
    return ByteTrack(TrackingConfig(**options), 10.0)


@pytest.mark.parametrize('scene', ORACLE['scenes'])
def test_the_numbers_are_the_librarys(scene: str) -> None:
    own = tracker()
    several = set()
    for ms, rows, ids in ORACLE['scenes'][scene]:
        scores = [(row[4] + 0.5) / 100 for row in rows]
        assert own.update(ms * MS, found([row[:4] for row in rows], scores)).tolist() == ids
        several |= set(ids)
    assert len(several) > 8


@pytest.mark.skipif(not importlib.util.find_spec('trackers'), reason='trackers is not installed')
@settings(max_examples=20)
@given(seed=st.integers(0, 10**6), jitter=st.sampled_from([0.0, 0.001, 0.02]))
def test_the_numbers_are_the_librarys_in_any_scene(seed: int, jitter: float) -> None:
    import supervision
    from trackers import ByteTrackTracker

    random, own = np.random.default_rng(seed), tracker()
    theirs = ByteTrackTracker(lost_track_buffer=30, frame_rate=10.0)
    place, speed = random.random((30, 2)) * 900, random.normal(0, 6, (30, 2))
    stamp_s = 0.0
    for _ in range(25):
        stamp_s += 0.1 * random.choice([1, 1, 1, 4]) + random.random() * jitter
        place += speed
        corners = np.hstack([place, place + 40]) + random.normal(0, 2, (30, 4))
        one = found(corners[random.random(30) > 0.2].tolist())
        one.score[:] = random.random(len(one))
        given_to = supervision.Detections(
            one.xyxy, confidence=one.score, data={'row': np.arange(len(one))}
        )
        answer = theirs.update(given_to, timestamp=round(stamp_s * 1e9) / 1e9)
        ids = np.full(len(one), NO_ID)
        ids[answer.data['row']] = answer.tracker_id
        assert own.update(round(stamp_s * 1e9), one).tolist() == ids.tolist()


def test_an_object_has_a_number_from_the_second_image_on() -> None:
    own = tracker()
    assert own.update(0, found(HERE)).tolist() == [NO_ID, NO_ID]
    assert own.update(100 * MS, found(HERE[::-1])).tolist() == [1, 0]
    assert own.update(200 * MS, found([])).tolist() == []
    assert own.update(300 * MS, found(HERE, [0.2, 0.9])).tolist() == [0, 1], 'uncertain, but there'
    assert own.update(1500 * MS, found(HERE)).tolist() == [NO_ID, NO_ID], 'gone for too long'
    assert own.update(1600 * MS, found(HERE)).tolist() == [2, 3], 'numbers are not used again'


def test_a_late_image_gets_no_numbers_and_changes_none() -> None:
    own, other = tracker(), tracker()
    for ms in (0, 100, 200):
        expected = [t.update(ms * MS, found(HERE)).tolist() for t in (own, other)]
    assert expected[0] == [0, 1]
    assert own.update(150 * MS, found([[10, 10, 50, 60]])).tolist() == [NO_ID]
    after = [t.update(300 * MS, found(HERE)).tolist() for t in (own, other)]
    assert after == [[0, 1], [0, 1]]
    assert own.update(300 * MS, found(HERE)).tolist() == [0, 1], 'the same stamp again'


def test_a_recording_that_begins_again_begins_anew() -> None:
    own = tracker()
    for ms in (5000, 5100, 0):
        ids = own.update(ms * MS, found(HERE)).tolist()
    assert ids == [NO_ID, NO_ID]
    assert own.update(100 * MS, found(HERE)).tolist() == [2, 3]


def test_stamps_that_stand_still_make_no_track_immortal() -> None:
    own = tracker()
    for _ in range(2):
        ids = own.update(0, found(HERE)).tolist()
    assert ids == [0, 1]
    for _ in range(9):
        own.update(0, found([]))
    assert own.update(0, found(HERE)).tolist() == [0, 1], 'unseen for a second, not longer'
    for _ in range(10):
        own.update(0, found([]))
    assert own.update(0, found(HERE)).tolist() == [NO_ID, NO_ID]


def test_only_so_many_tracks_are_kept_and_those_seen_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr('yolox_trt_ros.track.bytetrack.MOST_TRACKS', 3)
    own, other = tracker(), [[500, 500, 540, 540], [600, 600, 640, 640]]
    for ms, boxes in ((0, HERE), (100, HERE), (200, other), (300, other)):
        ids = own.update(ms * MS, found(boxes)).tolist()
    assert ids == [2, 3]
    assert own.update(400 * MS, found(HERE + other)).tolist() == [0, NO_ID, 2, 3]


@pytest.mark.parametrize('rate_hz', [0.5, 10.0])
def test_a_camera_slower_than_objects_are_forgotten_has_numbers(rate_hz: float) -> None:
    own = ByteTrack(TrackingConfig(), rate_hz)
    for s in (0, 2, 4, 6, 8):
        ids = own.update(s * 1000 * MS, found(HERE)).tolist()
    assert ids == [0, 1]
    own.update(10_000 * MS, found([]))
    assert own.update(12_000 * MS, found(HERE)).tolist() == [NO_ID, NO_ID]


@given(st.lists(st.lists(st.integers(0, 100), min_size=4, max_size=4), max_size=8))
def test_overlap_is_that_of_areas(boxes: list[list[int]]) -> None:
    some = np.sort(np.array(boxes, float).reshape(-1, 2, 2), axis=1).reshape(-1, 4)
    for one, row in zip(some, overlaps(some, some), strict=True):
        for other, value in zip(some, row, strict=True):
            width = max(0, min(one[2], other[2]) - max(one[0], other[0]))
            height = max(0, min(one[3], other[3]) - max(one[1], other[1]))
            areas = sum((b[2] - b[0]) * (b[3] - b[1]) for b in (one, other))
            union = areas - width * height
            assert value == pytest.approx(width * height / union if union else 0)


def test_cameras_have_numbers_of_their_own() -> None:
    config = Config.from_parameters(
        {'camera_names': ['a', 'b'], 'lane_names': ['l'], 'tracking.method': 'bytetrack'}
    )
    published: list[tuple[str, list[int]]] = []

    def publish(frame: Frame, of: Detections) -> None:
        assert of.track_id is not None and of.labels == ('car',)
        published.append((frame.camera, of.track_id.tolist()))

    follow = tracked(config, publish)
    assert isinstance(follow, CameraTracks)
    for ms in (0, 100):
        for camera, boxes in (('a', HERE), ('b', HERE[:1])):
            image = Frame(camera, 0, ms * MS, 0, '', 'mono8', 1, 1, 1, np.zeros(1, np.uint8))
            follow(image, found(boxes))
    assert published[2:] == [('a', [0, 1]), ('b', [0])]
    off = Config.from_parameters({'camera_names': ['a'], 'lane_names': ['l']})
    assert tracked(off, publish) is publish
    assert isinstance(off.cameras[0], CameraConfig)
