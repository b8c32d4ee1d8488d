"""No graph is read as another family's, whatever the YAML beside it says."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import yaml
from dense_graphs import (
    CLASSES,
    detr,
    rtmdet,
    rtmdet_maps,
    yolo_nas,
    yolov5,
    yolov6,
    yolov8,
    yolov8_maps,
)
from final_graphs import dets_and_labels, end_to_end, plugin, suppressed_rows
from oracle import assert_same, centred, detected, run, suppressed
from sized_graphs import pp_yoloe, ranked_detr
from test_darknet import decoded
from test_yolov8 import IMAGES, LIMITS
from tiny_models import HEIGHT, LABELS, WIDTH, write_yolox

from yolox_trt_ros.__main__ import main
from yolox_trt_ros.core.errors import ModelError
from yolox_trt_ros.detect.heads import FAMILIES
from yolox_trt_ros.detect.model import load_model_spec

FED = {'letterbox': 'centre', 'colour': 'rgb', 'scale': 1 / 255, 'mean': [0] * 3, 'std': [1] * 3}
ALL: dict[str, Callable[[Path], Path]] = {
    'yolov8': yolov8,
    'yolov8 maps': yolov8_maps,
    'yolov6': yolov6,
    'rtmdet': rtmdet,
    'rtmdet maps': rtmdet_maps,
    'yolo_nas': yolo_nas,
    'yolov5': yolov5,
    'darknet': decoded,
    'rt_detr': detr,
    'rt_detr ranked': ranked_detr,
    'pp_yoloe scaled': pp_yoloe,
    'final': end_to_end,
    'final rows': suppressed_rows,
    'final dets': dets_and_labels,
    'final plugin': plugin,
    'yolox': write_yolox,
    'yolox maps': partial(write_yolox, layout='per_level', scores='logit'),
    'yolox pixel': partial(write_yolox, boxes='pixel'),
}
"""Graphs of each family: the first word is its name."""
ALIKE = {
    'yolo_nas': {'pp_yoloe'},
    'rtmdet maps': {'yolov6'},
    'rt_detr': {'d_fine', 'rf_detr', 'detr'},
    'rt_detr ranked': {'d_fine'},
    'pp_yoloe scaled': {'yolo_nas'},
}
"""Families whose graphs do not differ: which it is only the YAML knows."""


def write(path: Path, name: str, **given: object) -> Path:
    ALL[name](path)
    path.with_suffix('.yaml').write_text(yaml.safe_dump({**FED, **given}))
    return path


@pytest.mark.parametrize('name', ALL)
def test_a_graph_is_read_as_its_own_family_or_asked_about(tmp_path: Path, name: str) -> None:
    path, own = write(tmp_path / 'm.onnx', name), name.split()[0]
    if others := ALIKE.get(name):
        with pytest.raises(ModelError, match='say which under "head"') as caught:
            load_model_spec(path)
        assert all(family in str(caught.value) for family in (own, *others))
    else:
        assert load_model_spec(path).head.family == own


@pytest.mark.parametrize('name', ALL)
def test_the_yaml_cannot_make_another_family_of_it(tmp_path: Path, name: str) -> None:
    own = name.split()[0]
    for family in FAMILIES:
        labels = 'ab' if (name, family) == ('rt_detr', 'detr') else LABELS  # the last is no class
        path = write(tmp_path / 'm.onnx', name, head=family, labels=list(labels))
        if family == own or family in ALIKE.get(name, ()):
            assert load_model_spec(path).head.family == family
        else:
            with pytest.raises(ModelError):
                load_model_spec(path)


@pytest.mark.parametrize(
    ('make', 'head', 'centre', 'split'),
    [
        (yolov6, 'yolov6', True, False),
        (partial(yolov6, bins=17), 'yolov6', True, False),
        (yolo_nas, 'yolo_nas', False, True),
        (partial(yolo_nas, last=False), 'pp_yoloe', False, True),
    ],
    ids=['yolov6', 'yolov6 bins', 'yolo_nas', 'pp_yoloe'],
)
def test_what_the_graph_and_onnx_find(
    tmp_path: Path, make: partial, head: str, centre: bool, split: bool
) -> None:
    path = make(tmp_path / 'm.onnx')
    path.with_suffix('.yaml').write_text(yaml.safe_dump({**FED, 'head': head}))
    found = detected(path, IMAGES, LIMITS)
    for image, detections in zip(IMAGES, found, strict=True):
        fed, scale, left, top = centred(image, HEIGHT, WIDTH)
        outputs = [o[0] for o in run(path, fed)]
        boxes, scores = outputs if split else (outputs[0][:, :4], outputs[0][:, 5:])
        scores = scores if scores.shape[1] == CLASSES else scores.T
        rows = suppressed(boxes, scores, LIMITS, centre)
        rows[:, 2:] = (rows[:, 2:] - [left, top] * 2) / scale
        assert_same(detections, rows)


@pytest.mark.parametrize('made', ['logit', 'pixel'])
def test_maps_of_rtmdet_find_what_its_decoded_boxes_are(tmp_path: Path, made: str) -> None:
    about = yaml.safe_dump({'head': 'rtmdet', 'letterbox': 'top_left'})
    whole, maps = rtmdet(tmp_path / 'a.onnx'), rtmdet_maps(tmp_path / 'b.onnx', made)
    for path in (whole, maps):
        path.with_suffix('.yaml').write_text(about)
    spec = load_model_spec(whole)
    assert (spec.input.colour, spec.input.mean[0]) == ('bgr', 103.53)
    pairs = zip(detected(whole, IMAGES, LIMITS), detected(maps, IMAGES, LIMITS), strict=True)
    for a, b in pairs:
        rows = np.column_stack((a.class_id, a.score, a.xyxy))
        assert_same(b, rows)


@pytest.mark.parametrize(
    ('make', 'head'),
    [(yolov6, 'yolov6'), (partial(yolov6, bins=17), 'yolov6'), (rtmdet, 'rtmdet')],
    ids=['yolov6', 'yolov6 bins', 'rtmdet'],
)
def test_a_cut_model_finds_the_same(tmp_path: Path, make: partial, head: str) -> None:
    """Its end is taken off, so that a DLA runs all that is left."""
    path, cut = make(tmp_path / 'm.onnx'), tmp_path / 'cut.onnx'
    path.with_suffix('.yaml').write_text(yaml.safe_dump({'head': head, 'letterbox': 'centre'}))
    assert main(['optimize', str(path), '--output', str(cut)]) == 0
    spec = load_model_spec(cut)
    assert (spec.head.family, len(spec.head.outputs)) == (head, 6)
    pairs = zip(detected(cut, IMAGES, LIMITS), detected(path, IMAGES, LIMITS), strict=True)
    for found, expected in pairs:
        assert_same(found, np.column_stack((expected.class_id, expected.score, expected.xyxy)))
