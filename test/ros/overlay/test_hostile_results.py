"""Results that no detector publishes: refused in a sentence, or drawn without harm."""

from __future__ import annotations

from types import SimpleNamespace as Message
from typing import Any

import numpy as np
import pytest
from hostile_messages import HOSTILE, INF, NAN, array
from hypothesis import given
from hypothesis import strategies as st

from yolox_trt_ros.core.detections import Detections
from yolox_trt_ros.core.errors import ConfigError
from yolox_trt_ros.core.messages import detections_of
from yolox_trt_ros.draw.boxes import draw_on
from yolox_trt_ros.draw.captions import Line, draw_caption, draw_table
from yolox_trt_ros.draw.mosaic import fit_into
from yolox_trt_ros.ros.overlay.camera import LONGEST_NAME, MOST_CLASSES, OverlayNames
from yolox_trt_ros.ros.overlay.output import status_lines


@pytest.mark.filterwarnings('error')
@pytest.mark.parametrize('name', HOSTILE)
def test_a_hostile_message_is_refused_in_a_sentence(name: str) -> None:
    for read in (OverlayNames().read, detections_of, lambda m: detections_of(m, {'1': 1})):
        with pytest.raises(ConfigError) as caught:
            read(HOSTILE[name])
        assert len(str(caught.value)) < 400 and '\n' not in str(caught.value)


def test_names_do_not_pile_up() -> None:
    names = OverlayNames()
    for i in range(MOST_CLASSES + 50):
        try:
            names.read(array(class_id=f'name {i}'))
        except ConfigError:
            assert i >= MOST_CLASSES
    assert len(names._names) == MOST_CLASSES
    with pytest.raises(ConfigError):
        OverlayNames().read(array(class_id='x' * (LONGEST_NAME + 1)))


COORDINATE = st.floats(width=32, allow_nan=True, allow_infinity=True)


@given(
    st.lists(st.tuples(COORDINATE, COORDINATE, COORDINATE, COORDINATE), max_size=5),
    st.integers(-(2**31), 2**31 - 1),
    st.text(max_size=300),
    st.sampled_from([(1, 1), (1, 300), (300, 1), (24, 32)]),
)
def test_whatever_is_in_memory_is_drawn(
    boxes: list[Any], class_id: int, name: str, size: tuple[int, int]
) -> None:
    n = len(boxes)
    found = Detections(
        np.array(boxes, np.float32).reshape(-1, 4),
        np.full(n, np.nan, np.float32),
        np.full(n, class_id, np.int32),
    )
    image = np.zeros((*size, 3), np.uint8)
    draw_on(image, found, {class_id: name})
    draw_caption(image, name)


@pytest.mark.parametrize('size', [(1, 16384), (16384, 1)])
def test_odd_sizes_fit_into_a_tile(size: tuple[int, int]) -> None:
    fitted = fit_into(np.zeros((*size, 3), np.uint8), (640, 400))
    assert fitted.shape[0] <= 400 and fitted.shape[1] <= 640


def test_a_status_of_another_program_is_drawn() -> None:
    camera = Message(
        name='a\x1b' * 1000, level=200, stages=['queue', 'total'], p95_ns=[1], rate_in_hz=INF,
        rate_out_hz=NAN, drop_counts=[2**63],
    )  # fmt: skip
    lane = Message(name='gpu', device='cuda:0', state='running', utilisation=INF)
    lines = status_lines(Message(cameras=[camera] * 30, lanes=[lane]))
    draw_table(np.zeros((200, 300, 3), np.uint8), 'x' * 10_000, lines)


@pytest.mark.parametrize('text', ['half a pair \udcff', '\ud800', '\0', '\x1b[31m\n'])
def test_texts_that_cannot_be_encoded_are_written(text: str) -> None:
    image = np.zeros((60, 300, 3), np.uint8)
    draw_caption(image, text)
    draw_table(image, text, [Line(0, text)])
    assert image.any()
