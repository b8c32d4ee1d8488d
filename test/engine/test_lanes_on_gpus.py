"""Lanes on one GPU and on several: one that fails leaves the others running."""

from __future__ import annotations

import mmap
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from generated_yolox import write_yolox

from yolox_trt_ros.compose import lane_specs, load_model
from yolox_trt_ros.core.config import Config
from yolox_trt_ros.core.detections import Detections
from yolox_trt_ros.core.errors import MissingDependencyError
from yolox_trt_ros.core.frame import Frame
from yolox_trt_ros.core.snapshot import LaneState
from yolox_trt_ros.core.trace import FrameTrace
from yolox_trt_ros.detect.backends.onnxruntime_cuda import require_onnxruntime
from yolox_trt_ros.detect.cuda.pinned_memory import CudaPinnedMemory
from yolox_trt_ros.detect.cuda.runtime import CudaDevice
from yolox_trt_ros.engine.cuda_devices import cuda_driver
from yolox_trt_ros.schedule.lane import LaneSpec
from yolox_trt_ros.schedule.pipeline import Pipeline

pytestmark = pytest.mark.gpu

PATIENCE_S = 60.0


def need_gpus(count: int) -> None:
    there = len(cuda_driver().devices)
    if there < count:
        pytest.skip(f'needs {count} GPUs, this machine has {there}')
    try:
        CudaDevice(0)
        require_onnxruntime()
    except MissingDependencyError as error:
        pytest.skip(str(error))


def vehicle(model: Path, devices: tuple[str, ...]) -> Config:
    flat: dict[str, Any] = {
        'model.path': str(model),
        'camera_names': ['front', 'rear'],
        'lane_names': [f'gpu{i}' for i in range(len(devices))],
    }
    for i, device in enumerate(devices):
        flat |= {f'lanes.gpu{i}.device': device, f'lanes.gpu{i}.max_batch': 2}
    return Config.from_parameters(flat)


class Feed:
    """Offers images to a pipeline and counts which lane ran them."""

    def __init__(self, config: Config, specs: list[LaneSpec]) -> None:
        self.ran: Counter[str] = Counter()
        self.pipeline = Pipeline(config.cameras, specs, self._sink, on_trace=self._note)
        self._image = np.random.default_rng(0).integers(0, 256, (120, 160, 3), np.uint8)

    def _sink(self, frame: Frame, found: Detections) -> None:
        pass

    def _note(self, frame: Frame, trace: FrameTrace) -> None:
        self.ran[trace.lane] += 1

    def until(self, lane: str, count: int) -> None:
        """Offer images until a lane has run so many more."""
        wanted, end = self.ran[lane] + count, time.monotonic() + PATIENCE_S
        while self.ran[lane] < wanted:
            assert time.monotonic() < end, f'{lane} ran {dict(self.ran)}'
            for name in ('front', 'rear'):
                now = time.monotonic_ns()
                frame = Frame.of(self._image, sequence=self.pipeline.next_sequence(name))
                self.pipeline.offer(replace(frame, camera=name, received_ns=now, stamp_ns=now))
            time.sleep(0.002)


@pytest.mark.parametrize('devices', [('cuda:0', 'cuda:0'), ('cuda:0', 'cuda:1')])
def test_a_lane_that_raises_leaves_the_other_running(
    tmp_path: Path, devices: tuple[str, ...]
) -> None:
    need_gpus(len(set(devices)))
    config = vehicle(write_yolox(tmp_path / 'm.onnx', 'nano'), devices)
    specs = lane_specs(config, load_model(config.model))
    sick: list[bool] = [False]

    def factory() -> Any:
        detector = specs[0].factory()
        submit = detector.submit

        def submitted(frames: Any) -> Any:
            if sick[0]:
                raise RuntimeError('this GPU has fallen off the bus')
            return submit(frames)

        detector.submit = submitted  # type: ignore[method-assign]
        return detector

    feed = Feed(config, [replace(specs[0], factory=factory), specs[1]])
    with feed.pipeline:
        for lane in ('gpu0', 'gpu1'):
            feed.until(lane, 5)
        sick[0] = True
        feed.until('gpu1', 100)
        one, other = feed.pipeline.snapshot().lanes
        assert one.failures > 0 and 'fallen off the bus' in one.note
        assert other.state is LaneState.RUNNING and other.failures == 0
        sick[0] = False
        feed.until('gpu0', 5)


CLOSED = """
import ctypes, os, sys
from pathlib import Path
from test_lanes_on_gpus import Feed, vehicle
from yolox_trt_ros.compose import lane_specs, load_model

config = vehicle(Path(sys.argv[1]), ('cuda:0', 'cuda:1'))
feed = Feed(config, lane_specs(config, load_model(config.model)))
feed.pipeline.start()
for lane in ('gpu0', 'gpu1'):
    feed.until(lane, 5)
driver, device = ctypes.CDLL('libcuda.so.1'), ctypes.c_int()
assert driver.cuDeviceGet(ctypes.byref(device), 0) == 0
assert driver.cuDevicePrimaryCtxReset_v2(device) == 0
feed.until('gpu1', 200)
one, other = feed.pipeline.snapshot().lanes
print('failures', one.failures, other.failures, other.state.value, flush=True)
os._exit(0)  # what is left of the closed context is nobody's business any more
"""


def test_a_gpu_whose_context_is_closed_leaves_the_other_running(tmp_path: Path) -> None:
    need_gpus(2)
    model = write_yolox(tmp_path / 'm.onnx', 'nano')
    here = Path(__file__).parent
    path = [str(here), str(here.parent), str(here.parents[1]), *filter(None, sys.path)]
    done = subprocess.run(
        [sys.executable, '-c', f'import sys; sys.path[:0] = {path!r}\n{CLOSED}', str(model)],
        capture_output=True, text=True, timeout=100,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    words = done.stdout.split()
    assert words[0] == 'failures' and int(words[1]) > 0 and words[2:] == ['0', 'running']


def test_pinned_memory_is_reached_by_every_gpu() -> None:
    need_gpus(2)
    memory = mmap.mmap(-1, 4 << 20)
    buffer = np.frombuffer(memory, np.uint8)
    pinned = CudaPinnedMemory(1)
    pinned.pin(buffer.ctypes.data, len(memory))
    try:
        for index in range(2):
            device = CudaDevice(index)
            assert device.reach(buffer), f'cuda:{index}'
            assert device.reach(CudaDevice(1 - index).pinned(100, np.uint8))
    finally:
        pinned.unpin(buffer.ctypes.data)
