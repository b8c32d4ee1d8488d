"""DETR and its successors find what Transformers' own post-processing finds in random networks.

That was recorded with ``record_transformers.py``; where torch and transformers are installed, the
networks are made anew, and compared on photographs, too.
"""

from __future__ import annotations

import json
import lzma
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml
from dense_graphs import CLASSES, detr
from oracle import assert_same, detected, run
from record_transformers import RECORDED
from transformers_models import IMAGES, LABELS, MODELS, QUERIES, detections, export, fed

from yolox_trt_ros.core.errors import ModelError
from yolox_trt_ros.core.model import Thresholds
from yolox_trt_ros.detect.model import load_model_spec


def described(path: Path, name: str) -> Path:
    (path.parent / 'labels.txt').write_text('\n'.join(LABELS))
    path.with_suffix('.yaml').write_text(yaml.safe_dump({'head': name}))
    return path


@pytest.mark.parametrize('name', MODELS)
def test_what_transformers_found(tmp_path: Path, name: str) -> None:
    path = described(tmp_path / 'm.onnx', name)
    path.write_bytes(lzma.decompress((RECORDED / f'{name}.onnx.xz').read_bytes()))
    spec = load_model_spec(path)
    assert (spec.head.family, spec.input.letterbox, spec.head.suppressed) == (name, 'stretch', True)
    recorded = json.loads((RECORDED / 'transformers.json').read_text())['found'][name]
    limits = Thresholds(recorded['threshold'], max_detections=QUERIES)
    found = detected(path, IMAGES, limits)
    for one, rows in zip(found, recorded['rows'], strict=True):
        assert_same(one, np.array(rows))


@pytest.fixture(scope='module', params=MODELS)
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return a model's name and its ONNX file."""
    pytest.importorskip('torch', reason='pip install torch transformers')
    pytest.importorskip('transformers', reason='pip install torch transformers')
    path = described(tmp_path_factory.mktemp(request.param) / 'm.onnx', request.param)
    export(request.param, path)
    return request.param, path


def test_what_transformers_finds_in_photographs(exported: Any, real: Path) -> None:
    name, path = exported
    limits = Thresholds(0.4, max_detections=QUERIES)  # as many as Transformers keeps
    pictures = [cv2.imread(str(file)) for file in sorted((real / 'images').iterdir())]
    for image, found in zip(pictures, detected(path, pictures, limits), strict=True):
        rows = detections(name, run(path, fed(name, image)), image)
        assert_same(found, rows[rows[:, 1] > limits.score], at_least=1)


def test_whose_it_is_is_asked(tmp_path: Path) -> None:
    path = detr(tmp_path / 'm.onnx')
    with pytest.raises(ModelError, match='may be of detr or rt_detr or d_fine or rf_detr: say'):
        load_model_spec(path)
    fed = {}
    for head in ('rt_detr', 'rf_detr', 'detr'):
        path.with_suffix('.yaml').write_text(f'head: {head}\n')
        if head == 'detr':  # whose last logit is nothing
            (tmp_path / 'labels.txt').write_text('\n'.join('abcd'[: CLASSES - 1]))
        spec = load_model_spec(path)
        fed[head] = spec.input.mean[0], spec.head.classes
    assert fed == {
        'rt_detr': (0.0, CLASSES), 'rf_detr': (0.485, CLASSES), 'detr': (0.485, CLASSES - 1),
    }  # fmt: skip


@pytest.mark.parametrize('wrong', ['corners', 'pixels', 'probabilities'])
def test_what_only_looks_like_it_is_refused(tmp_path: Path, wrong: str) -> None:
    path = detr(tmp_path / 'm.onnx', wrong)
    path.with_suffix('.yaml').write_text('head: rt_detr\n')
    with pytest.raises(ModelError, match='not a rt_detr'):
        load_model_spec(path)
