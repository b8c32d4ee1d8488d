"""The table of backends; docs/extending.md says how to add one."""

from __future__ import annotations

import importlib
import importlib.util
from collections import ChainMap
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from yolox_trt_ros.core.detector import LaneDetector
from yolox_trt_ros.core.model import ModelSpec, Thresholds
from yolox_trt_ros.core.prepared import PreparedModel

if TYPE_CHECKING:
    from yolox_trt_ros.core.config import LaneConfig

DEVICES = ('cpu', 'cuda', 'dla')
"""Kinds of device; a lane on one is written ``cpu``, ``cuda:N`` or ``dla:N``."""


def no_masks(camera: str) -> bool:
    """Return that nobody wants the class masks of a camera."""
    del camera
    return False


@dataclass(frozen=True, slots=True)
class LaneSetup:
    """What a backend's factory is given beside the lane's configuration.

    Attributes:
        path: the ONNX file that the lane runs.
        spec: how it is fed and read.
        thresholds: asked for at every batch, for they may change at run time.
        engine: for a backend that builds: returns what :func:`compose.tensorrt_engine` does.
        machine: for a simulated backend: the :class:`SimulatedMachine` of all lanes.
        on_event: called with what decodes JPEG images on a GPU's lane; None: there are none.
        prepared: for a backend that prepares: what is run in place of the file; its own spec
            then says how it is fed and read.
        model: its name among the vehicle's; empty: the vehicle's ``model``.
        masks: whether somebody wants the class masks of a camera; asked for every image.
    """

    path: Path
    spec: ModelSpec
    thresholds: Callable[[], Thresholds]
    engine: Callable[[], Any] | None = None
    machine: Any = None
    on_event: Callable[[str], None] | None = None
    prepared: PreparedModel | None = None
    model: str = ''
    masks: Callable[[str], bool] = no_masks


@dataclass(frozen=True, slots=True)
class BackendInfo:
    """What configuration, lanes, ``doctor`` and tools know of a backend.

    Attributes:
        factory: ``module:function`` of what makes a lane's detector; imported by the first lane
            that needs it.
        install: the command that installs it, for each kind of device that it runs on.
        modules: Python modules of which one must be there; ``doctor`` looks for them.
        title: what ``doctor`` calls it.
        precision: whether it follows a lane's ``precision`` on a GPU and a DLA. A CPU computes as
            the model's file says.
        prepares: whether a GPU's lane runs a form of the model that is made for its precision, see
            :mod:`prepared_models`.
        builds: whether it runs engines that are built first; such a lane may have its own model.
        simulated: whether it follows an engine profile and uses no device.
    """

    factory: str
    install: Mapping[str, str]
    modules: tuple[str, ...] = ()
    title: str = ''
    precision: bool = False
    prepares: bool = False
    builds: bool = False
    simulated: bool = False

    def detector(self, lane: LaneConfig, setup: LaneSetup) -> LaneDetector:
        """Return a lane's detector; called on the lane's own thread, again after a fault."""
        module, _, function = self.factory.partition(':')
        made: LaneDetector = getattr(importlib.import_module(module), function)(lane, setup)
        return made


_FOLDER = 'yolox_trt_ros.detect.backends'

BACKENDS = {
    'onnxruntime': BackendInfo(
        f'{_FOLDER}.onnxruntime:lane_detector',
        {
            'cpu': 'pip install onnxruntime',
            'cuda': 'pip install "onnxruntime-gpu[cuda,cudnn]" in place of onnxruntime',
        },
        ('onnxruntime',),
        'ONNX Runtime',
        precision=True,
        prepares=True,
    ),
    'tensorrt': BackendInfo(
        f'{_FOLDER}.tensorrt:lane_detector',
        {
            'cuda': 'pip install tensorrt, or tensorrt-rtx for GeForce and RTX cards',
            'dla': 'apt install python3-libnvinfer (a virtual environment needs '
            '--system-site-packages)',
        },
        # In the order they are tried; the last is TensorRT-RTX without its meta package.
        ('tensorrt', 'tensorrt_rtx', 'tensorrt_rtx_bindings'),
        'TensorRT',
        precision=True,
        builds=True,
    ),
    'simulated': BackendInfo(
        f'{_FOLDER}.simulated:lane_detector', dict.fromkeys(DEVICES, ''), simulated=True
    ),
}
"""Every backend, by its name in ``lanes.<name>.backend``."""


AUTO = 'auto'
"""In place of a backend's name: see :func:`auto_backend`."""

BACKEND_NAMES: Collection[str] = ChainMap[str, Any](BACKENDS, {AUTO: None})
"""What ``lanes.<name>.backend`` may be; it follows the table, to which others may add rows."""


def auto_backend(device: str) -> tuple[str, str]:
    """Return the backend that ``auto`` stands for on a device of this machine, and why.

    On a GPU that is TensorRT where it is installed: its engines take about half the time of ONNX
    Runtime's best (docs/measured/engines.md), and minutes to build once.
    """
    kind = device_kind(device)
    if kind == 'dla':
        return 'tensorrt', 'nothing else runs on a DLA'
    if kind != 'cuda':
        return 'onnxruntime', 'nothing else runs on a CPU'
    info = BACKENDS['tensorrt']
    found = next((name for name in info.modules if importlib.util.find_spec(name)), '')
    if found:
        return 'tensorrt', f'the module {found} is installed'
    return 'onnxruntime', f'TensorRT, which is faster, is not installed ({info.install["cuda"]})'


def with_backend(lane: LaneConfig) -> LaneConfig:
    """Return a lane with the backend that ``auto`` stands for here."""
    if lane.backend != AUTO:
        return lane
    backend, reason = auto_backend(lane.device)
    return replace(lane, backend=backend, reason=reason)


def device_kind(device: str) -> str:
    """Return the kind of a device: ``cuda`` of ``cuda:0``."""
    return device.partition(':')[0]


def backends_on(device: str) -> list[str]:
    """Return the names of the backends that run on a device."""
    return [name for name, info in BACKENDS.items() if device_kind(device) in info.install]
