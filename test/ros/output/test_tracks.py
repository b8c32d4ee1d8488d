"""Numbers of tracks in the ids of detections: from templates, as from the typed message."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from cdr_oracle import message_store, same_bytes
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from rclpy.serialization import deserialize_message
from vision_msgs.msg import Detection2DArray

from yolox_trt_ros.core.config import Config
from yolox_trt_ros.core.detections import Detections
from yolox_trt_ros.core.frame import Frame
from yolox_trt_ros.core.rules import Rules
from yolox_trt_ros.ros.native import load_native
from yolox_trt_ros.ros.output.cdr_templates import FoundWriter, check
from yolox_trt_ros.ros.output.message_kinds import TRACK_DIGITS, TRACKED
from yolox_trt_ros.ros.output.messages import FOUND

LABELS = ('car', 'bus', 'pedestrian')
RULES = Rules.of_all(LABELS, 0.3)
VEHICLE = {'camera_names': ['a'], 'lane_names': ['lane'], 'class_id_format': 'name'}
pytestmark = pytest.mark.skipif(
    not hasattr(load_native(), 'TRACKED'), reason='make setup builds the C++ part anew'
)
frame_ids = st.text(st.characters(codec='ascii', exclude_characters='\0'), max_size=12)


def message(method: str) -> Any:
    return FOUND['detections'](
        Config.from_parameters({**VEHICLE, 'tracking.method': method}), RULES
    )


def image(frame_id: str) -> Frame:
    return Frame('a', 0, 7, 0, frame_id, 'mono8', 20, 30, 30, np.zeros(600, np.uint8))


def found(tracks: np.ndarray) -> Detections:
    n = len(tracks)
    boxes = np.arange(4 * n, dtype=np.float32).reshape(n, 4)
    class_ids = np.arange(n, dtype=np.int32) % len(LABELS)
    return Detections(boxes, np.full(n, 0.5, np.float32), class_ids, LABELS, tracks)


@pytest.fixture(scope='module')
def store() -> Any:
    return message_store('vision_msgs')


@settings(max_examples=40)
@given(
    frame_id=frame_ids,
    tracks=arrays.arrays(
        np.int64, st.integers(0, 8), elements=st.integers(-3, 10**TRACK_DIGITS - 1)
    ),
)
def test_the_bytes_are_rosidls(store: Any, frame_id: str, tracks: np.ndarray) -> None:
    kind = message('bytetrack')
    writer = FoundWriter(kind)
    for of in (found(tracks), found(tracks[::-1].copy())):
        expected = kind.build(image(frame_id), of)
        same_bytes(store, bytes(writer.write(image(frame_id), of)), expected)


def test_an_object_has_its_number_as_id_and_others_have_none() -> None:
    kind = message('bytetrack')
    check(kind)
    written = bytes(FoundWriter(kind).write(image('f'), found(np.array([42, -1, 0]))))
    ids = [d.id for d in deserialize_message(written, Detection2DArray).detections]
    assert ids == ['0000000042', '', '0000000000']


def test_nothing_is_written_of_tracks_where_nobody_tracks() -> None:
    kind = message('none')
    assert not kind.track
    written = bytes(FoundWriter(kind).write(image('f'), found(np.array([42, 43]))))
    read = deserialize_message(written, Detection2DArray)
    assert [d.id for d in read.detections] == ['', '']


def test_both_sides_mean_the_same() -> None:
    native = load_native()
    assert (native.TRACKED, native.TRACK_DIGITS) == (TRACKED, TRACK_DIGITS)
    with pytest.raises(ValueError, match='expected a track for each class'):
        one = np.zeros(1, np.float32)
        ids = np.zeros(1, np.int32)
        native.BoxWriter(bytes(4), [], 0, 0).write(0, 0, np.zeros((1, 4), 'f4'), one, ids, ids[:0])
