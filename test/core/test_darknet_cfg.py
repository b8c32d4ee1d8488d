"""Darknet's cfg: what is read of it, and in what sentence it is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from yolox_trt_ros.core.darknet_cfg import read_cfg
from yolox_trt_ros.core.errors import ModelError

TINY = """[net]
batch=1
width=64
height=32
channels=3

[convolutional]
batch_normalize=1
filters=8
size=3
stride=2
pad=1
activation=leaky

[maxpool]
size=2
stride=2

[convolutional]
filters=16
size=3
stride=2
pad=1
activation=leaky

[convolutional]
filters=14
size=1
stride=1
pad=1
activation=linear

[yolo]
mask = 1,2
anchors = 10,14,  23,27,  37,58
classes=2
num=3

[route]
layers = -3

[upsample]
stride=2

[route]
layers = -1, 1

[convolutional]
filters=14
size=1
activation=linear

[yolo]
mask = 0,1
anchors = 10,14,  23,27,  37,58 # as above
classes=2
num=3
scale_x_y=1.05
"""


def read(tmp_path: Path, text: str) -> object:
    path = tmp_path / 'a.cfg'
    path.write_text(text)
    return read_cfg(path)


def test_shapes_and_boxes(tmp_path: Path) -> None:
    cfg = read(tmp_path, TINY)
    assert [layer.shape for layer in cfg.layers] == [
        (8, 16, 32), (8, 8, 16), (16, 4, 8), (14, 4, 8), (14, 4, 8),
        (16, 4, 8), (16, 8, 16), (24, 8, 16), (14, 8, 16), (14, 8, 16),
    ]  # fmt: skip
    assert cfg.about() == {
        'head': 'darknet',
        'classes': 2,
        'strides': [4, 8],
        'anchors': [10, 14, 23, 27, 23, 27, 37, 58],
        'scale_x_y': [1.05, 1],
        'new_coords': False,
        'letterbox': 'stretch',
    }
    assert [y.map for y in cfg.yolo] == [8, 3]


@pytest.mark.parametrize(
    ('old', 'new', 'said'),
    [
        ('[net]', '[convolutional]', r'a\.cfg: expected a darknet cfg that begins with \[net\]'),
        ('width=64', 'width=sixty', r'line 1, \[net\]: width: expected numbers, got "sixty"'),
        ('width=64', 'width=0', r'width: expected a whole number from 1 to 65536, got "0"'),
        ('width=64', '', r'line 1, \[net\]: expected the key width, there is none'),
        ('channels=3', 'channels=1', 'channels: expected 3, got 1'),
        ('[upsample]', '[region]', r'line \d+, \[region\]: expected one of the layers of YOLOv3'),
        ('[upsample]', '[upsample', r'expected \[the kind of a layer\], got "\[upsample"'),
        ('stride=2', 'stride', r'expected \[the kind of a layer\] or key=value, got "stride"'),
        ('layers = -1, 1', 'layers = -1, 9', r'layers before it, which are 0 to 6 or -7 to -1'),
        ('layers = -1, 1', 'layers = -1, 2', r'expected layers of one size, got \[\[16, 8, 16'),
        ('layers = -3', 'layers = -1', r'\[route\]: reads what \[yolo\] gives'),
        ('layers = -3', '', r'layers: expected numbers of layers, there are none'),
        ('mask = 1,2', 'mask = 1,3', r'mask: expected numbers of its 3 anchors, from 0'),
        ('mask = 1,2', 'mask = 1', r'expected a map of 1 × \(5 \+ 2\) channels before it, got 14'),
        ('size=2', 'stride_x=1', 'stride_x: expected none, for it is not read'),
        ('num=3', 'num=9', 'num: expected the 3 of its anchors, got 9'),
        ('10,14,  23', '10,,  -4', 'anchors: expected widths and heights, got 5 numbers'),
        ('scale_x_y=1.05', 'scale_x_y=nan', 'scale_x_y: expected numbers, got "nan"'),
        ('scale_x_y=1.05', 'new_coords=1', 'differ in classes, new_coords or number of anchors'),
    ],
)  # fmt: skip
def test_refused(tmp_path: Path, old: str, new: str, said: str) -> None:
    assert old in TINY
    with pytest.raises(ModelError, match=said):
        read(tmp_path, TINY.replace(old, new, 1))


def test_without_yolo_layers(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r'expected \[yolo\] layers, as YOLOv3 and v4 have'):
        read(tmp_path, TINY.partition('[yolo]')[0])


def test_a_size_that_is_no_multiple_of_the_stride(tmp_path: Path) -> None:
    text = TINY.partition('[route]')[0].replace('width=64', 'width=66')
    with pytest.raises(ModelError, match='its 9x4 cells do not fit the input of 66x32'):
        read(tmp_path, text)
