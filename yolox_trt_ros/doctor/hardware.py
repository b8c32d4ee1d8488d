"""Check processor, GPUs, DLAs and clocks."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from yolox_trt_ros.compose import available_cores
from yolox_trt_ros.core.errors import YoloxTrtRosError
from yolox_trt_ros.core.numa import SYSFS, cores_of, numa_node, pci_file
from yolox_trt_ros.doctor.finding import Finding, Severity, Wanted
from yolox_trt_ros.engine.cuda_devices import cuda_driver, peers
from yolox_trt_ros.engine.tensorrt_versions import load_tensorrt

GIB = 1 << 30
FULL_POWER_MODE = 'MAXN'
RUNS_AT = 0.9
"""Share of its highest clock at which an engine counts as running at full speed."""


def processor(wanted: Wanted) -> Iterator[Finding]:
    """Judge whether there are cores enough to receive eight cameras."""
    cores = available_cores()
    busy = os.getloadavg()[0]
    message = f'{cores} cores may be used, {busy:.1f} are busy'
    if cores < 4:
        yield Finding(Severity.WARN, 'CPU', message, 'eight raw cameras take about two cores alone')
    elif busy > cores / 2:
        yield Finding(Severity.WARN, 'CPU', message, 'end what else runs')
    else:
        yield Finding(Severity.OK, 'CPU', message)


def gpus(wanted: Wanted) -> Iterator[Finding]:
    """List the GPUs that the driver finds, and those that lanes name in vain."""
    driver = cuda_driver()
    if driver.problem:
        remedy = 'install the NVIDIA driver; in a container: --gpus all' if wanted.gpu else ''
        message = driver.problem + ('' if wanted.gpu else ': only lanes on the CPU will run')
        yield Finding(wanted.lacking(wanted.gpu), 'GPU', message, remedy)
        return
    for device in driver.devices:
        kind = 'integrated' if device.integrated else 'discrete'
        message = (
            f'cuda:{device.index} {device.name}, compute capability {device.compute_capability}, '
            f'{device.memory / GIB:.0f} GiB, {kind}; driver for CUDA {driver.version}'
        )
        yield Finding(Severity.OK, 'GPU', message)
    named = {x.device for x in wanted.config.lanes} if wanted.config else set()
    there = {f'cuda:{device.index}' for device in driver.devices}
    for device_name in sorted(n for n in named - there if n.startswith('cuda:')):
        yield Finding(Severity.FAIL, 'GPU', f'there is no {device_name}', f'use {", ".join(there)}')


def gpu_links(wanted: Wanted, root: Path = SYSFS) -> Iterator[Finding]:
    """Say how each GPU that is no part of the processor is connected: PCIe, NUMA, other GPUs."""
    devices = [device for device in cuda_driver().devices if not device.integrated]
    for device in devices:
        width, most, speed = (
            pci_file(device.bus_id, f'{name}', root)
            for name in ('current_link_width', 'max_link_width', 'current_link_speed')
        )
        narrow = width.isdigit() and most.isdigit() and 0 < int(width) < int(most)
        link = f'PCIe x{width} of x{most}, {speed}' if width and most else 'PCIe link not known'
        node = numa_node(device.bus_id, root)
        parts = [link, 'one NUMA node, or unknown' if node is None else f'NUMA node {node}']
        if len(devices) > 1:
            reached = [f'cuda:{index}' for index in peers(device, devices)]
            parts.append(f'peer access to {", ".join(reached) or "no other GPU"}')
        message = f'cuda:{device.index}: {"; ".join(parts)}'
        if narrow:
            remedy = f'put it into a slot with {most} lanes: eight raw cameras bring 1.2 GB/s'
            yield Finding(Severity.WARN, 'GPU link', message, remedy)
        elif node is not None and not cores_of(node, root) & os.sched_getaffinity(0):
            remedy = f'let the process use cores of node {node}: images cross to the other node'
            yield Finding(Severity.WARN, 'GPU link', message, remedy)
        else:
            yield Finding(Severity.OK, 'GPU link', message)


def dlas(wanted: Wanted) -> Iterator[Finding]:
    """Say how many DLA cores TensorRT finds."""
    try:
        cores = int(load_tensorrt().builder().num_DLA_cores)
        message = f'{cores or "no"} cores'
    except YoloxTrtRosError:  # told elsewhere
        cores, message = 0, 'TensorRT finds none, for it does not run here'
    named = {x.device for x in wanted.config.lanes} if wanted.config else set()
    missing = sorted(n for n in named if n.startswith('dla:') and int(n[4:]) >= cores)
    if missing:
        remedy = 'a Jetson AGX Orin has two, with TensorRT 8.5 to 10.7 or 11.4.1'
        yield Finding(Severity.FAIL, 'DLA', f'{message}; lanes name {", ".join(missing)}', remedy)
    else:
        yield Finding(Severity.OK, 'DLA', message)


def jetson(wanted: Wanted, root: Path = Path('/')) -> Iterator[Finding]:
    """Judge, on a Jetson, whether it is in its fastest mode, with its clocks up."""
    name = root / 'proc/device-tree/model'
    if not (root / 'etc/nv_tegra_release').exists():
        return
    board = name.read_text(errors='replace').strip('\0\n ') if name.exists() else 'a Jetson'
    release = (root / 'etc/nv_tegra_release').read_text().partition(',')[0].strip('# \n')
    yield Finding(Severity.OK, 'Jetson', f'{board}, {release}')
    mode = power_mode()
    if not mode:
        message = 'the power mode cannot be read (no jtop, no nvpmodel)'
        yield Finding(Severity.WARN, 'power mode', message, 'pip install jetson-stats')
    elif not mode.startswith(FULL_POWER_MODE):
        yield Finding(Severity.WARN, 'power mode', mode, 'sudo nvpmodel -m 0, where heat allows')
    else:
        yield Finding(Severity.OK, 'power mode', mode)
    yield from clocks(root)


def power_mode() -> str:
    """Return the name of the power mode, from jetson-stats or nvpmodel; '' if neither says."""
    try:
        from jtop import jtop

        with jtop() as board:
            return str(board.nvpmodel.name)
    except Exception:  # not installed, its service is not running, or it does not know the board
        pass
    if not shutil.which('nvpmodel'):
        return ''
    done = subprocess.run(['nvpmodel', '-q'], capture_output=True, text=True, timeout=10)
    lines = [x.partition(':')[2].strip() for x in done.stdout.splitlines() if 'Power Mode' in x]
    return lines[0] if lines else ''


def clocks(root: Path) -> Iterator[Finding]:
    """Read the clocks of GPU and memory controller from sysfs, as jetson_clocks sets them."""
    for folder in sorted((root / 'sys/class/devfreq').glob('*')):
        if not folder.name.endswith(('gpu', 'gv11b', 'ga10b', 'emc')):
            continue
        low, high = (int((folder / f'{m}_freq').read_text()) for m in ('min', 'max'))
        message = f'{folder.name}: {low / 1e6:.0f} to {high / 1e6:.0f} MHz'
        if low < RUNS_AT * high:
            remedy = 'sudo jetson_clocks, so that latencies do not depend on the load before'
            yield Finding(Severity.WARN, 'clocks', message, remedy)
        else:
            yield Finding(Severity.OK, 'clocks', message)
