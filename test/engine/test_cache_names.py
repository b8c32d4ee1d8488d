"""Keys and file names of engines: no two settings share a file."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_cache import KEY

OTHERS: dict[str, Any] = {
    'model': 'n.onnx',
    'model_sha256': 'bb',
    'tensorrt': 'tensorrt 10.7.0',
    'device_name': 'NVIDIA GeForce RTX 4090',
    'compute_capability': '8.9',
    'dla_core': 1,
    'precision': 'int8',
    'calibration_sha256': 'cc',
    'batch': 1,
    'dynamic': False,
    'flags': {'sparsity': True},
}


@pytest.mark.parametrize('name', OTHERS)
def test_every_field_of_the_key_counts(name: str) -> None:
    other = replace(KEY, **{name: OTHERS[name]})
    assert other.stem() != KEY.stem()
    (difference,) = KEY.differences(asdict(other))
    assert difference.startswith(f'{name} is ') and repr(OTHERS[name]) in difference


@given(st.text(max_size=20), st.text(max_size=20))
def test_names_are_file_names(model: str, device: str) -> None:
    stem = replace(KEY, model=f'{model}.onnx', device_name=device).stem()
    assert '/' not in stem and '\0' not in stem and len(stem) < 200
