"""Which classes the Python interface and the tools detect, and what they call them."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from tiny_models import write_yolox

from yolox_trt_ros import ConfigError, Detector
from yolox_trt_ros.__main__ import main
from yolox_trt_ros.core.frame import Frame


def noise(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (90, 120, 3), np.uint8)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    (tmp_path / 'map.csv').write_text('car,vehicle\nbus,vehicle\n')
    return write_yolox(tmp_path / 'm.onnx')


def rows(model: Path, image: Any, **options: Any) -> list[tuple[Any, ...]]:
    with Detector(model, score_threshold=0.2, **options) as detect:
        return [tuple(one) for one in detect(image)]


def test_a_subset_is_what_all_classes_have_of_it(model: Path) -> None:
    every = rows(model, noise(3))
    wanted = rows(model, noise(3), classes=['person', 0])
    assert wanted == [row for row in every if row[0] != 'bus'] and len(wanted) < len(every)


def test_other_names(model: Path) -> None:
    with Detector(model, class_map=model.with_name('map.csv'), score_threshold=0.2) as detect:
        assert detect.labels == ('vehicle', 'person')
        found = detect(noise(3))
    assert {one.label for one in found} == {'vehicle', 'person'}
    assert found.mask('vehicle').any() and {*found.class_id.tolist()} == {0, 1}


@pytest.mark.parametrize('scores', [{'car': 0.8}, ['car=0.8']])
def test_scores_of_classes(model: Path, scores: Any) -> None:
    every = rows(model, noise(3))
    found = rows(model, noise(3), class_thresholds=scores)
    assert found == [row for row in every if row[0] != 'car' or row[1] > 0.8]
    assert len(found) < len(every)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'classes': 'car'}, 'classes: expected a list'),
        ({'classes': [0.5]}, 'classes: expected a list'),
        ({'classes': ['cra']}, 'did you mean "car"'),
        ({'class_map': 'nowhere.csv'}, 'there is no such file'),
        ({'class_thresholds': {'car': 2}}, r'"car": expected 0 to 1, got 2'),
        ({'class_thresholds': {'car': math.nan}}, 'expected 0 to 1'),
    ],
)
def test_what_there_is_not_is_refused(model: Path, options: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Detector(model, **options)


def test_a_frame_of_any_camera(model: Path) -> None:
    with Detector(model, classes=['car']) as detect:
        frames = [Frame.of(noise(3), camera=name) for name in ('front', '')]
        first, second = detect(frames)
    assert np.array_equal(first.xyxy, second.xyxy) and {*first.class_id} == {0}


def test_detect_takes_them_as_options(model: Path, tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / 'a.png'), noise(3))
    common = [
        'detect',
        '--model',
        str(model),
        '--images',
        str(tmp_path / 'a.png'),
        '--score',
        '0.2',
    ]

    def found(*options: str) -> dict[str, Any]:
        out = tmp_path / 'out.json'
        assert main([*common, '--json', str(out), *options]) == 0
        report = json.loads(out.read_text())
        return {**report, 'rows': report['images']['a.png']['detections']}

    every, some = found(), found('--only', 'car', 'bus', '--class-scores', 'car=0.8')
    wanted = [r for r in every['rows'] if r[5] == 2 or (r[5] == 0 and r[4] > 0.8)]
    assert some['rows'] == wanted and len(wanted) < len(every['rows'])
    renamed = found('--class-map', str(model.with_name('map.csv')))
    assert renamed['labels'] == ['vehicle', 'person']
    assert {row[5] for row in renamed['rows']} == {0, 1}


def test_evaluate_renames_labels_as_it_renames_classes(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip('faster_coco_eval')
    cv2.imwrite(str(tmp_path / 'a.png'), noise(3))
    boxes = [one for one in rows(model, noise(3)) if one[0] != 'person'][:2]
    names = {'car': 1, 'bus': 2, 'kite': 3}
    annotations = [
        {
            'id': i, 'image_id': 1, 'category_id': names[label], 'area': 1, 'iscrowd': 0,
            'bbox': [x1, y1, x2 - x1, y2 - y1],
        }
        for i, (label, _, (x1, y1, x2, y2), _) in enumerate(boxes, 1)
    ]  # fmt: skip
    coco = {
        'categories': [{'id': number, 'name': name} for name, number in names.items()],
        'images': [{'id': 1, 'file_name': 'a.png', 'width': 120, 'height': 90}],
        'annotations': annotations,
    }
    (tmp_path / 'coco.json').write_text(json.dumps(coco))
    out = tmp_path / 'figures.json'
    command = ['evaluate', '--model', str(model), '--coco', str(tmp_path)]
    command += [str(tmp_path / 'coco.json'), '--json', str(out)]
    assert main([*command, '--class-map', str(model.with_name('map.csv'))]) == 0
    assert list(json.loads(out.read_text())['per_class']) == ['vehicle']
    assert 'class "kite" are left out' in capsys.readouterr().err
    assert main([*command, '--only', 'bus']) == 0
    assert list(json.loads(out.read_text())['per_class']) == ['bus']
