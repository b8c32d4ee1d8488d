"""Run lengths of masks, against pycocotools and against what Autoware's decoder reads."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from pycocotools import mask as coco

from yolox_trt_ros.core.errors import ConfigError
from yolox_trt_ros.core.run_length import coco_counts, runs_of, values_of

SHAPES = array_shapes(min_dims=2, max_dims=2, max_side=20)
MASKS = arrays(np.uint8, SHAPES, elements=st.integers(0, 3))


def decoded_by_autoware(data: bytes, rows: int, columns: int) -> np.ndarray:
    """Return what ``perception_utils::runLengthDecoder`` makes of a message's data."""
    mask, at = np.zeros(rows * columns, np.uint8), 0
    for i in range(0, len(data), 5):
        value, length = struct.unpack_from('<Bi', data, i)
        mask[at : at + length] = value
        at += length
    assert at == rows * columns
    return mask.reshape(rows, columns)


@settings(max_examples=25)
@given(MASKS)
def test_runs_come_back_and_autoware_reads_them(mask: np.ndarray) -> None:
    runs = runs_of(mask)
    assert (values_of(runs.tobytes(), *mask.shape) == mask).all()
    assert (decoded_by_autoware(runs.tobytes(), *mask.shape) == mask).all()
    assert (runs['value'][1:] != runs['value'][:-1]).all() and (runs['length'] > 0).all()


@settings(max_examples=25)
@given(MASKS)
def test_counts_of_a_class_are_those_of_pycocotools(mask: np.ndarray) -> None:
    for value in np.unique(mask).tolist():
        one = mask == value
        size = list(one.shape)
        counts = coco_counts(one)
        ours = coco.frPyObjects({'size': size, 'counts': counts}, *size)
        assert ours == coco.encode(np.asfortranarray(one.astype(np.uint8)))
        assert (coco.decode(ours).astype(bool) == one).all()


def test_a_view_of_a_larger_mask_is_encoded_as_it_looks() -> None:
    whole = np.arange(120, dtype=np.uint8).reshape(10, 12) // 7
    part = whole[2:8, 3:9]
    assert (values_of(runs_of(part).tobytes(), 6, 6) == part).all()


@pytest.mark.parametrize(
    ('data', 'said'),
    [
        (b'\1\1\0\0', 'runs of 5 bytes'),
        (struct.pack('<Bi', 1, 5), r'2x3 = 6 pixels, got 5'),
        (struct.pack('<BiBi', 1, -1, 2, 7), 'got 6'),
    ],
)
def test_what_are_no_runs_of_the_mask_is_refused(data: bytes, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        values_of(data, 2, 3)
