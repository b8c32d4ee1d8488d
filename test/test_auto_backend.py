"""What ``backend: auto`` stands for."""

from __future__ import annotations

import importlib.util
from typing import Any

import pytest

from yolox_trt_ros.core.backends import auto_backend, with_backend
from yolox_trt_ros.core.config import LaneConfig
from yolox_trt_ros.vehicle_files import load_vehicle


def installed(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """Let these modules and no others be found."""
    found: Any = lambda name: name if name in names else None  # noqa: E731
    monkeypatch.setattr(importlib.util, 'find_spec', found)


@pytest.mark.parametrize(
    ('modules', 'device', 'backend', 'reason'),
    [
        (('tensorrt',), 'cuda:0', 'tensorrt', 'the module tensorrt is installed'),
        (('tensorrt_rtx',), 'cuda:1', 'tensorrt', 'the module tensorrt_rtx is installed'),
        ((), 'cuda:0', 'onnxruntime', 'TensorRT, which is faster, is not installed (pip install'),
        (('tensorrt',), 'cpu', 'onnxruntime', 'nothing else runs on a CPU'),
        ((), 'dla:0', 'tensorrt', 'nothing else runs on a DLA'),
    ],
)
def test_choice(
    monkeypatch: pytest.MonkeyPatch,
    modules: tuple[str, ...],
    device: str,
    backend: str,
    reason: str,
) -> None:
    installed(monkeypatch, *modules)
    name, why = auto_backend(device)
    assert name == backend and why.startswith(reason)


@pytest.mark.parametrize('modules', [(), ('tensorrt',)])
def test_desktop_takes_tensorrt_where_it_is(
    monkeypatch: pytest.MonkeyPatch, modules: tuple[str, ...]
) -> None:
    installed(monkeypatch, *modules)
    (lane,) = load_vehicle('desktop_8cam').lanes
    assert lane.backend == ('tensorrt' if modules else 'onnxruntime')
    assert 'installed' in lane.reason


def test_named_backend_is_taken_as_it_is() -> None:
    lane = LaneConfig('gpu', device='cuda:0', backend='onnxruntime')
    assert with_backend(lane) is lane and lane.reason == ''
