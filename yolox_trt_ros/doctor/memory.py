"""Check free memory of host and GPUs against what a vehicle's lanes and cameras take."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path

from yolox_trt_ros.compose import lane_model, load_models
from yolox_trt_ros.core.backends import BACKENDS
from yolox_trt_ros.core.config import Config, LaneConfig
from yolox_trt_ros.detect.model import load_model_spec
from yolox_trt_ros.doctor.finding import Finding, Severity, Wanted
from yolox_trt_ros.engine.cuda_devices import CudaDeviceInfo, cuda_driver, free_memory
from yolox_trt_ros.loaded_model import Models
from yolox_trt_ros.ros.dds import settings
from yolox_trt_ros.ros.dds.segments import SHARED_MEMORY, left_behind

GIB, MIB = 1 << 30, 1 << 20

NODE, LANE = 512 * MIB, 256 * MIB
"""Host memory of the node with ROS and the packages, and of one network of a lane."""

COPIES = 4
"""Of each camera's image at a time: on its way, waiting, being processed, being drawn."""

CONTEXT = 640 * MIB
"""GPU memory that CUDA and its libraries take in a process."""

LAYERS = 32
"""GPU memory of a network's tensors, in sizes of its float32 input."""

BUILD = 1024 * MIB
"""GPU memory that TensorRT tries kernels in."""

AMPLE = 2
"""So many times what is needed is free where nothing has to be said."""

EXAMPLE = 2 * GIB
"""Host memory of eight cameras and a lane, where no vehicle is given."""


def shared_memory(wanted: Wanted, folder: Path = SHARED_MEMORY) -> Iterator[Finding]:
    """Look for what killed processes left in shared memory, and tell the command that frees it."""
    del wanted
    left = left_behind(folder)
    if not left:
        yield Finding(Severity.OK, 'shared memory', 'no killed process left anything in it')
        return
    message = (
        f'{len(left)} files of killed processes hold {settings.mib(sum(one.size for one in left))}'
    )
    own, foreign = ([one for one in left if one.own is mine] for mine in (True, False))
    remedies = ['fastdds shm clean (a starting node does that too)'] if own else []
    if foreign:
        # Their lock files lie beside them: <name>_el, <name>_sl.
        remedies.append('sudo rm ' + ' '.join(shlex.quote(str(one.path)) + '*' for one in foreign))
    yield Finding(Severity.WARN, 'shared memory', message, '; '.join(remedies))


def memory(wanted: Wanted, meminfo: Path = Path('/proc/meminfo')) -> Iterator[Finding]:
    """Judge whether the host has memory enough; on a Jetson it is the GPU's, too."""
    lines = dict(line.split(':') for line in meminfo.read_text().splitlines())
    free, total = (int(lines[k].split()[0]) << 10 for k in ('MemAvailable', 'MemTotal'))
    config = wanted.config
    needed = host_bytes(config) if config else EXAMPLE
    shared = [d for d in cuda_driver().devices if d.integrated]
    needed += sum(gpu_bytes(config, device.index) for device in shared) if config else 0
    yield _judged(
        'memory', free, total, needed, 'this vehicle needs' if config else 'eight cameras need'
    )


def gpu_memory(wanted: Wanted) -> Iterator[Finding]:
    """Judge whether each GPU that has its own memory has enough of it for the lanes on it."""
    for device in cuda_driver().devices:
        if device.integrated:
            continue
        needed = gpu_bytes(wanted.config, device.index) if wanted.config else 0
        yield _free_of(device, needed)


def host_bytes(config: Config) -> int:
    """Return about how much host memory a vehicle takes."""
    images = sum(map(settings.image_bytes, config.cameras))
    return NODE + LANE * len(config.lanes) * len(config.used_models) + COPIES * images


def gpu_bytes(config: Config, index: int) -> int:
    """Return about how much memory of a GPU the lanes on it take; a DLA shares that of cuda:0."""
    devices = (f'cuda:{index}', 'dla:') if index == 0 else (f'cuda:{index}',)
    lanes = [
        lane
        for lane in config.lanes
        if lane.device.startswith(devices) and not BACKENDS[lane.backend].simulated
    ]
    builds = config.engines.build != 'never' and any(BACKENDS[x.backend].builds for x in lanes)
    taken = CONTEXT + (BUILD if builds else 0) if lanes else 0
    models = load_models(config) if lanes else None
    return taken + sum(_lane_bytes(config, lane, models) for lane in lanes if models)


def _lane_bytes(config: Config, lane: LaneConfig, models: Models) -> int:
    """Return what the networks of a lane take, one for each model of the cameras."""
    taken = 0
    for name, model in models.by_name.items():
        path = lane_model(lane, model)
        spec = (load_model_spec(path) if lane.model else model.spec).input
        sizes = [settings.image_bytes(c) for c in config.cameras if c.model == name]
        tensors = LAYERS * lane.max_batch * 3 * spec.height * spec.width * 4
        taken += 2 * path.stat().st_size + tensors
        taken += max(sizes) * lane.max_batch * (lane.in_flight + 1)
    return taken


def _free_of(device: CudaDeviceInfo, needed: int) -> Finding:
    free, topic = free_memory(device), f'cuda:{device.index} memory'
    if free is None:
        message = f'of {device.memory / GIB:.1f} GiB, nobody knows how much is free'
        return Finding(Severity.OK, topic, message)
    if not needed:
        return Finding(Severity.OK, topic, f'{_of(free, device.memory)}; no lane is on it')
    return _judged(topic, free, device.memory, needed, 'its lanes need')


def _judged(topic: str, free: int, total: int, needed: int, whose: str) -> Finding:
    message = f'{_of(free, total)}, {whose} about {needed / GIB:.1f}'
    if free >= AMPLE * needed:
        return Finding(Severity.OK, topic, message)
    level = Severity.WARN if free >= needed else Severity.FAIL
    remedy = f'{AMPLE * needed / GIB:.1f} GiB are ample: end other programs, or fewer lanes'
    return Finding(level, topic, message, remedy)


def _of(free: int, total: int) -> str:
    return f'{free / GIB:.1f} of {total / GIB:.1f} GiB are free'
