"""Models of every family of heads bear the preparing for a GPU's lane."""

from __future__ import annotations

from pathlib import Path

import pytest
from test_families import ALIKE, ALL, write

from yolox_trt_ros.detect.model import load_model_spec
from yolox_trt_ros.engine.cache import EngineCache
from yolox_trt_ros.prepared_models import SUFFIX, prepared_model

pytest.importorskip('onnxscript', reason='heads are cut with onnxscript')


@pytest.mark.parametrize('name', sorted(name for name in ALL if 'plugin' not in name))
def test_they_find_the_same_in_float16(tmp_path: Path, name: str) -> None:
    """All but those that end in TensorRT's own layer, which no lane of ONNX Runtime runs."""
    given = {'head': name.partition(' ')[0]} if name in ALIKE else {}
    path = write(tmp_path / 'm.onnx', name, **given)
    spec, said = load_model_spec(path), []
    cache = EngineCache(tmp_path / 'cache', suffix=SUFFIX)
    prepared = prepared_model(path, spec, 'auto', cache, said.append)
    assert prepared.spec.head.family == spec.head.family
    assert prepared.spec.input.dtype == 'float16'
    assert prepared.spec.labels == spec.labels
    fed = ('colour', 'scale', 'mean', 'std', 'pad', 'letterbox')
    assert [getattr(prepared.spec.input, key) for key in fed] == [
        getattr(spec.input, key) for key in fed
    ]
    assert ' 0 of ' in said[-1] and min(map(len, prepared.expected)) > 0
