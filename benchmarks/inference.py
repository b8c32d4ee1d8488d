"""The network alone, by everything here that can run it on a GPU, for each batch size.

TensorRT runs an engine, which is built first if it is not in the cache; ONNX Runtime the prepared
model of a lane, in each precision and with each way in which its CUDA provider may choose
convolutions; PyTorch the same layers, launched one by one, as a CUDA graph, and compiled. Times are
the device's, one launch of a CUDA graph unless the row says otherwise. Memory is what the GPU has
less of, which means something where nothing else runs there. What is missing, and what there is no
time for, is left out with the reason. What takes long to compile comes last.
"""

from __future__ import annotations

import argparse
import itertools
import math
import signal
import time
from collections.abc import Callable, Container, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import onnx

from benchmarks.support.gpu_timing import timed_us
from yolox_trt_ros.compose import Model, engine_of_lane, load_model, prepared_of_lane
from yolox_trt_ros.compose import tensorrt_engine as loadable_engine
from yolox_trt_ros.core.backends import AUTO, with_backend
from yolox_trt_ros.core.config import EnginesConfig, LaneConfig, ModelConfig
from yolox_trt_ros.core.errors import YoloxTrtRosError
from yolox_trt_ros.core.parameters import build
from yolox_trt_ros.core.prepared import PreparedModel
from yolox_trt_ros.detect.backends.onnxruntime_cuda import OnnxRuntimeCudaBackend
from yolox_trt_ros.detect.cuda.runtime import SETUP_LOCK, CudaDevice, require_cupy
from yolox_trt_ros.detect.cuda.step import Step
from yolox_trt_ros.engine.options import USUAL_LEVEL

CALLS = 50
LIKE_A_LANE = 'onnxruntime fp16'
NHWC = {'prefer_nhwc': '1'}
PLAIN, FUSED = {'prefer_nhwc': '0', 'fuse_conv_bias': '0'}, {'fuse_conv_bias': '1'}
FINE, FAST = {'cudnn_conv_algo_search': 'EXHAUSTIVE'}, {'cudnn_conv_algo_search': 'HEURISTIC'}
COMPILED = 'pytorch fp16, compiled graph'
VARIANTS: dict[str, tuple[str, dict[str, str]]] = {
    LIKE_A_LANE: ('fp16', {}),
    'onnxruntime fp16, heuristic': ('fp16', FAST),
    'onnxruntime tf32': ('tf32', {}),
    'onnxruntime tf32, channels last': ('tf32', NHWC | FUSED),
    'onnxruntime fp32': ('fp32', {}),
    'onnxruntime fp32, heuristic': ('fp32', FAST),
    'onnxruntime fp16, bias apart': ('fp16', NHWC | {'fuse_conv_bias': '0'} | FINE),
    'onnxruntime fp16, bias apart, heuristic': ('fp16', NHWC | {'fuse_conv_bias': '0'} | FAST),
    'onnxruntime fp16, channels first': ('fp16', PLAIN | FINE),
    'onnxruntime fp16, channels first, heuristic': ('fp16', PLAIN | FAST),
}
TORCH = {
    'pytorch fp16, eager': False,
    'pytorch fp16, graph': True,
    COMPILED: True,
}
"""Whether it is a CUDA graph."""

TENSORRT = ('fp16', 'int8', 'tf32', 'fp32')
FIRST = ('tensorrt fp16', LIKE_A_LANE, 'onnxruntime fp16, heuristic')
MIB = 1 << 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument('--model', default='edge_s', help='ONNX file or name (default: edge_s)')
    parser.add_argument('--labels', default='', help='text file, one class name a line')
    parser.add_argument('--device', type=int, default=0, help='the N of cuda:N')
    parser.add_argument('--batches', type=int, nargs='+', default=(1, 2, 4, 8))
    parser.add_argument('--ranges', default='', help='range table of `quantize`, for tensorrt int8')
    parser.add_argument(
        '--optimization-level', type=int, default=USUAL_LEVEL, choices=range(6),
        help=f'of TensorRT engines (default: {USUAL_LEVEL})',
    )  # fmt: skip
    parser.add_argument(
        '--budget', type=float, default=math.inf, metavar='SECONDS',
        help='leave out what is not done after so long (default: no limit)',
    )  # fmt: skip
    parser.add_argument(
        '--only', nargs='+', default=(), metavar='WORD',
        help='rows of these names, or whose name has one of these words (default: all)',
    )  # fmt: skip


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Return milliseconds of a batch, and seconds until it first ran, for each row."""
    end = time.monotonic() + args.budget
    device = CudaDevice(args.device)
    model = load_model(build(ModelConfig, {'path': args.model, 'labels': args.labels}))
    lane = LaneConfig('bench', f'cuda:{args.device}', AUTO, max(args.batches))
    shipped = with_backend(lane)
    result: dict[str, Any] = {
        'gpu': device.name, 'model': model.path.name, 'batches': list(args.batches),
        'default': f'{shipped.backend} fp16', 'reason': shipped.reason, 'rows': {},
    }  # fmt: skip
    engines = EnginesConfig(ranges=args.ranges, optimization_level=args.optimization_level)
    every = _rows(model, replace(lane, backend='onnxruntime'), device, engines)
    for name, run in every.items():
        if args.only and not any(_named(name, word, every) for word in args.only):
            continue
        result['rows'][name] = row = {}
        for size in args.batches:
            row[str(size)] = one = _measured(run, size, end)
            print(f'{name}, batch of {size}: {one}', flush=True)
            args.save(result)
            if 'left_out' in one:
                break
    return result


def _measured(run: Run, size: int, end: float) -> dict[str, Any]:
    """Return the figures of one batch size, or why there are none."""
    begun = time.monotonic()
    if begun > end:
        return {'left_out': 'no time was left of --budget'}
    try:
        with _until(end):
            timed = run(size)
    except _LateError:
        return {'left_out': f'not done after {time.monotonic() - begun:.0f} s, of --budget'}
    except (YoloxTrtRosError, ImportError, RuntimeError) as error:
        return {'left_out': str(error).partition('\n')[0]}
    figures = asdict(timed) | {'whole_s': time.monotonic() - begun}
    return {k: v if isinstance(v, bool) else round(v, 4) for k, v in figures.items()}


class _LateError(BaseException):
    """The time is over; no exception that a compiler takes for the failure of one attempt."""


@contextmanager
def _until(end: float) -> Iterator[None]:
    """Raise where the main thread is when the time is over, until somebody lets it through."""
    if end == math.inf:
        yield
        return

    def late(*_: Any) -> None:
        raise _LateError

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, max(1e-3, end - time.monotonic()), 1.0)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def rows(result: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the table of a result."""
    table = [
        ('GPU', result['gpu']),
        ('model', result['model']),
        ('backend auto', f'{result["default"]}: {result["reason"]}'),
    ]
    if compared := _compared(result):
        table.append(('  its time over that of torch.compile', compared))
    for name, row in result['rows'].items():
        cells = [
            one.get('left_out')
            or f'{size}: {one["ms"]:.2f} ms ({one["start_s"]:.1f} s, {one["memory_mib"]:.0f} MiB'
            + (f', built in {one["build_s"]:.0f} s' if one['build_s'] else '')
            + ('' if one['recorded'] else ', one by one')
            + ')'
            for size, one in row.items()
        ]
        table.append((name, '  '.join(cells)))
    return table


def _compared(result: dict[str, Any]) -> str:
    mine, theirs = (result['rows'].get(name, {}) for name in (result['default'], COMPILED))
    both = [size for size in mine if 'ms' in mine[size] and 'ms' in theirs.get(size, {})]
    return '  '.join(f'{size}: {mine[size]["ms"] / theirs[size]["ms"]:.2f}' for size in both)


@dataclass(frozen=True, slots=True)
class Timed:
    """One batch size of one row.

    Attributes:
        ms: of one batch on the device.
        start_s: until it had run once.
        recorded: whether it is a CUDA graph.
        memory_mib: of the GPU, that it takes.
        build_s: of the engine, which was built here or before; 0: there is none.
    """

    ms: float
    start_s: float
    recorded: bool
    memory_mib: float
    build_s: float = 0.0


Run = Callable[[int], Timed]


def _named(name: str, word: str, every: Container[str]) -> bool:
    return name == word if word in every else word in name


def _rows(
    model: Model, lane: LaneConfig, device: CudaDevice, engines: EnginesConfig
) -> dict[str, Run]:
    """Return what measures each row, in the order in which they are measured."""
    every: dict[str, Run] = {
        f'tensorrt {precision}': partial(_tensorrt, model, lane, device, precision, engines)
        for precision in TENSORRT
    }
    for name, (precision, options) in VARIANTS.items():
        every[name] = partial(_onnxruntime, model, lane, device, precision, options)
    for name, graph in TORCH.items():
        every[name] = partial(_pytorch, model, lane, device, graph, name == COMPILED)
    return {name: every[name] for name in dict.fromkeys((*FIRST, *every))}


def _prepared(model: Model, lane: LaneConfig, precision: str) -> PreparedModel:
    made = prepared_of_lane(replace(lane, precision=precision), model, EnginesConfig())
    assert made is not None
    return made


def _onnxruntime(
    model: Model,
    lane: LaneConfig,
    device: CudaDevice,
    precision: str,
    options: dict[str, str],
    size: int,
) -> Timed:
    prepared = _prepared(model, lane, precision)
    before, stream, begun = _used_mib(), device.stream(), time.monotonic()
    backend = OnnxRuntimeCudaBackend(
        model.path, prepared.spec, device, stream, size, prepared, options, [size]
    )
    return _timed(backend, device, stream, size, begun, before)


def _tensorrt(
    model: Model,
    lane: LaneConfig,
    device: CudaDevice,
    precision: str,
    engines: EnginesConfig,
    size: int,
) -> Timed:
    from yolox_trt_ros.detect.backends.tensorrt import TensorRtBackend

    lane = replace(lane, backend='tensorrt', precision=precision)
    made = engine_of_lane(lane, model, engines)
    build_s = made.load().facts['seconds']
    engine, _, core = loadable_engine(lane, made)
    before, stream, begun = _used_mib(), device.stream(), time.monotonic()
    backend = TensorRtBackend(engine, model.spec, device, stream, size, core)
    return replace(_timed(backend, device, stream, size, begun, before), build_s=build_s)


def _timed(
    backend: Any, device: CudaDevice, stream: Any, size: int, begun: float, before: float
) -> Timed:
    """Time a backend, and close it."""
    try:
        with SETUP_LOCK, stream:
            backend.infer(size)
            stream.synchronize()
            start_s = time.monotonic() - begun
            step = Step(stream, [size], backend.infer, backend.recordable)
        ms = timed_us(stream, lambda _: step.launch(size), CALLS) / 1e3
        return Timed(ms, start_s, step.recorded, _used_mib() - before)
    finally:
        backend.close()
        device.give_back()


def _used_mib() -> float:
    """Return how much of the current GPU's memory is taken, by anyone."""
    free, whole = require_cupy().cuda.runtime.memGetInfo()
    return float(whole - free) / MIB


def _pytorch(
    model: Model, lane: LaneConfig, device: CudaDevice, graph: bool, compiled: bool, size: int
) -> Timed:
    import torch

    from benchmarks.support.torch_model import OnnxModule

    # The layers in float32: PyTorch halves them itself.
    prepared = _prepared(model, lane, 'tf32')
    where = torch.device('cuda', device.index)
    torch.cuda.empty_cache()
    before, begun = _used_mib(), time.monotonic()
    torch.backends.cudnn.benchmark = True
    channels_last = torch.channels_last
    network: Any = OnnxModule(onnx.load_model_from_string(prepared.content)).half().to(where)
    network = network.eval().to(memory_format=channels_last)
    image = prepared.spec.input
    shape = size, 3, image.height, image.width
    given = torch.zeros(shape, dtype=torch.half, device=where).to(memory_format=channels_last)
    if compiled:
        network = torch.compile(network, mode='max-autotune-no-cudagraphs')
    with torch.inference_mode():
        stream = torch.cuda.Stream(where)
        with torch.cuda.stream(stream):
            for _ in range(3):
                network(given)
            stream.synchronize()
            start_s = time.monotonic() - begun
            run: Callable[[], Any] = partial(network, given)
            if graph:
                recorded = torch.cuda.CUDAGraph()
                with torch.cuda.graph(recorded, stream=stream):
                    network(given)
                run = recorded.replay
            return Timed(_torch_ms(torch, stream, run), start_s, graph, _used_mib() - before)


def _torch_ms(torch: Any, stream: Any, run: Callable[[], Any]) -> float:
    events = [torch.cuda.Event(enable_timing=True) for _ in range(CALLS + 1)]
    for _ in range(5):
        run()
    events[0].record(stream)
    for event in events[1:]:
        run()
        event.record(stream)
    stream.synchronize()
    spans = [a.elapsed_time(b) for a, b in itertools.pairwise(events)]
    return float(np.median(spans))
