"""Names, colours and painted boxes of masks, as Autoware's files and rules have them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_models import write_yolox

from yolox_trt_ros.core.config import ModelConfig
from yolox_trt_ros.core.detections import Detections
from yolox_trt_ros.core.errors import ConfigError
from yolox_trt_ros.core.parameters import build
from yolox_trt_ros.core.segmentation import Segmentation
from yolox_trt_ros.detect.mask_files import read_mask_boxes, read_mask_colors
from yolox_trt_ros.detect.mask_style import MaskStyle
from yolox_trt_ros.loaded_model import Model, load_model

COLORS = """id,name,r,g,b
0, road, 128, 64, 128   # a comment
1,building,70,70,70
2,sky,70,130,180

3,car,0,0,142
4,person,220,20,60
"""
BOXES = 'name,id\nCAR,3\nPEDESTRIAN,4\nTRAIN,-1\nBUS,3\n'
LABELS = ('CAR', 'PEDESTRIAN', 'BUS')


def style_of(folder: Path, **given: object) -> tuple[MaskStyle, Model]:
    (folder / 'colors.csv').write_text(COLORS)
    (folder / 'boxes.csv').write_text(BOXES)
    path = write_yolox(folder / 'm.onnx', labels=LABELS, segmentation='scores')
    files = {'mask_colors': str(folder / 'colors.csv'), 'mask_boxes': str(folder / 'boxes.csv')}
    config = build(ModelConfig, {'path': str(path), **files, **given})
    model = load_model(config)
    return MaskStyle.of(config, model.spec), model


def test_colors_and_names_come_from_the_file(tmp_path: Path) -> None:
    style, _ = style_of(tmp_path)
    assert style.labels == ('road', 'building', 'sky', 'car', 'person')
    mask = Segmentation(np.array([[0, 4]], np.uint8), (0, 0, 2, 1))
    assert style.coloured(mask).tolist() == [[[128, 64, 128], [60, 20, 220]]]
    plain, _ = style_of(tmp_path, mask_colors='', mask_boxes='')
    assert plain.labels == () and len(np.unique(plain.bgr[:16], axis=0)) == 16


def painted_by_autoware(
    cells: np.ndarray, boxes: np.ndarray, numbers: list[int], width: int, height: int
) -> np.ndarray:
    """Return what ``decodeOutputs`` and ``overlapSegmentByRoi`` make of a mask."""
    mask, f = cells.copy(), np.float32
    scale_x, scale_y = f(mask.shape[1]) / f(width), f(mask.shape[0]) / f(height)
    for box, number in zip(boxes, numbers, strict=True):
        x0, x1 = (min(max(box[k], f(0)), f(width - 1)) for k in (0, 2))
        y0, y1 = (min(max(box[k], f(0)), f(height - 1)) for k in (1, 3))
        x_offset, y_offset, w, h = int(x0), int(y0), int(x1 - x0), int(y1 - y0)
        columns, rows = int(f(w) * scale_x), int(f(h) * scale_y)
        x, y = int(f(x_offset) * scale_x), int(f(y_offset) * scale_y)
        mask[y : y + rows, x : x + columns] = number
    return mask


CORNERS = st.tuples(*[st.floats(-50, 700, width=32)] * 4)


@settings(max_examples=30)
@given(st.lists(CORNERS, min_size=1, max_size=4), st.sampled_from([(640, 480), (517, 301)]))
def test_boxes_are_painted_as_autoware_paints_them(
    corners: list[tuple[float, ...]], size: tuple[int, int]
) -> None:
    boxes = np.array(corners, np.float32)
    boxes = np.column_stack((boxes.reshape(-1, 2, 2).min(1), boxes.reshape(-1, 2, 2).max(1)))
    n = len(boxes)
    cells = np.zeros((60, 80), np.uint8)
    found = Detections(boxes, np.linspace(0.9, 0.5, n, dtype=np.float32), np.arange(n, dtype='i4'))
    style = MaskStyle((), np.zeros((256, 3), np.uint8), {'a': 1}, 0.3)
    numbers = np.arange(1, n + 1)
    mask = Segmentation(cells, (0, 0, *size))
    got = style.painted(mask, found, numbers, size).class_id
    assert (got == painted_by_autoware(cells, boxes, numbers.tolist(), *size)).all()
    assert not cells.any()


def test_which_boxes_are_painted(tmp_path: Path) -> None:
    style, model = style_of(tmp_path, mask_box_score=0.5, mask_box_classes=['CAR', 'HAZARD'])
    numbers = style.numbers(model.spec, model.rules)
    assert numbers.tolist() == [3, -1, -1]
    boxes = np.array([[0, 0, 4, 4], [4, 0, 8, 4], [0, 4, 4, 8]], np.float32)
    scores = np.array([0.9, 0.9, 0.4], np.float32)
    found = Detections(boxes, scores, np.array([0, 1, 0], np.int32))
    mask = Segmentation(np.zeros((8, 8), np.uint8), (0, 0, 9, 9))
    painted = style.painted(mask, found, numbers, (9, 9)).class_id
    assert (painted[:3, :3] == 3).all() and painted.sum() == 3 * 9


def test_classes_that_share_a_name_are_painted_alike(tmp_path: Path) -> None:
    merge = tmp_path / 'map.yaml'
    merge.write_text('vehicle: [CAR, BUS]\n')
    style, model = style_of(tmp_path, class_map=str(merge))
    assert style.numbers(model.spec, model.rules).tolist().count(3) == 1
    merge.write_text('thing: [CAR, PEDESTRIAN]\n')
    style, model = style_of(tmp_path, class_map=str(merge))
    with pytest.raises(ConfigError, match='different classes of the masks'):
        style.numbers(model.spec, model.rules)


@pytest.mark.parametrize(
    ('text', 'said'),
    [
        ('id,name,r,g,b\n', 'expected 1 to 256 classes, got 0'),
        ('id,name,r,g,b\n1,road,1,2,3\n', 'expected the row of class 0, got "1"'),
        ('id,name,r,g,b\n0,road,1,2,300\n', 'expected a number, 0 to 255'),
        ('id,name,r,g,b\n0,road,1,2\n', 'expected 5 columns'),
        ('id,name,r,g,b\n0,,1,2,3\n', 'expected a name of class 0'),
    ],
)
def test_colors_that_are_none_are_refused(text: str, said: str, tmp_path: Path) -> None:
    file = tmp_path / 'c.csv'
    file.write_text(text)
    with pytest.raises(ConfigError, match=said):
        read_mask_colors(file)


def test_files_that_do_not_fit_the_model_are_refused(tmp_path: Path) -> None:
    (tmp_path / 'few.csv').write_text('id,name,r,g,b\n0,road,1,2,3\n')
    with pytest.raises(ConfigError, match='expected 5 classes as the model has, got 1'):
        style_of(tmp_path, mask_colors=str(tmp_path / 'few.csv'))
    (tmp_path / 'b.csv').write_text('name,id\nCAR,3\n')
    with pytest.raises(ConfigError, match='mask_boxes: expected a row for every class'):
        style_of(tmp_path, mask_boxes=str(tmp_path / 'b.csv'))
    with pytest.raises(ConfigError, match=r'mask_box_classes: .* got "CRA"'):
        style_of(tmp_path, mask_box_classes=['CRA'])
    for text, said in (('name,id\nCAR,9\n', '-1 to 4'), ('name,id\nCAR,1\nCAR,1\n', 'once')):
        (tmp_path / 'b.csv').write_text(text)
        with pytest.raises(ConfigError, match=said):
            read_mask_boxes(tmp_path / 'b.csv', 5)
