"""DETR and its successors find what Transformers' own post-processing finds in random networks.

That was recorded with ``record_transformers.py``; where torch and transformers are installed, they
are compared on photographs, too.
"""

from __future__ import annotations

import json
import lzma
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from dense_graphs import CLASSES, detr
from oracle import assert_same, detected, run
from record_transformers import RECORDED
from transformers_models import IMAGES, LABELS, MODELS, QUERIES, detections, fed

from yolox_trt_ros.core.errors import ModelError
from yolox_trt_ros.core.model import Thresholds
from yolox_trt_ros.detect.model import load_model_spec


@pytest.fixture(params=MODELS)
def recorded(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Path]:
    """Return a model's family and its file."""
    path = tmp_path / 'm.onnx'
    path.write_bytes(lzma.decompress((RECORDED / f'{request.param}.onnx.xz').read_bytes()))
    path.with_suffix('.yaml').write_text(yaml.safe_dump({'head': request.param}))
    (tmp_path / 'labels.txt').write_text('\n'.join(LABELS))
    return request.param, path


def test_what_transformers_found(recorded: tuple[str, Path]) -> None:
    name, path = recorded
    spec = load_model_spec(path)
    assert (spec.head.family, spec.input.letterbox, spec.head.suppressed) == (name, 'stretch', True)
    found = json.loads((RECORDED / 'transformers.json').read_text())['found'][name]
    for image, least, rows in zip(IMAGES, found['thresholds'], found['rows'], strict=True):
        limits = Thresholds(least, max_detections=QUERIES)
        (one,) = detected(path, [image], limits, spec)
        assert_same(one, np.array(rows), at_least=20)


def test_what_transformers_finds_in_photographs(recorded: tuple[str, Path], real: Path) -> None:
    pytest.importorskip('torch', reason='pip install torch transformers')
    pytest.importorskip('transformers', reason='pip install torch transformers')
    name, path = recorded
    spec = load_model_spec(path)
    queries = spec.head.shapes(spec.input)[0][0]  # as many as Transformers keeps
    limits = Thresholds(0.1, max_detections=queries)
    pictures = [cv2.imread(str(file)) for file in sorted((real / 'images').iterdir())]
    total = 0
    for image, found in zip(pictures, detected(path, pictures, limits, spec), strict=True):
        rows = detections(name, run(path, fed(name, image)), image)
        total += len(rows)
        assert_same(found, rows[rows[:, 1] > limits.score], at_least=1)
    assert len(pictures) == 50 and total > 500


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
    for head in ('rt_detr', 'rf_detr'):
        path.with_suffix('.yaml').write_text(f'head: {head}\n')
        with pytest.raises(ModelError, match=f'not a {head}'):
            load_model_spec(path)
