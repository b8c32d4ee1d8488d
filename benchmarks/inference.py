"""The network alone, by everything here that can run it on a GPU, for each batch size.

ONNX Runtime runs the prepared model of a lane, in each precision and with each way in which its
CUDA provider may choose convolutions; PyTorch runs the same layers, launched one by one, as a CUDA
graph, and compiled; TensorRT an engine that is built first. Times are the device's, one launch of
a CUDA graph unless the row says otherwise. What is missing is left out, with the reason.
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Callable, Container, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import onnx

from benchmarks.support.gpu_timing import timed_us
from yolox_trt_ros.compose import Model, engine_of_lane, load_model, prepared_of_lane
from yolox_trt_ros.compose import tensorrt_engine as loadable_engine
from yolox_trt_ros.core.config import EnginesConfig, LaneConfig, ModelConfig
from yolox_trt_ros.core.errors import YoloxTrtRosError
from yolox_trt_ros.core.parameters import build
from yolox_trt_ros.core.prepared import PreparedModel
from yolox_trt_ros.detect.backends.onnxruntime_cuda import OnnxRuntimeCudaBackend
from yolox_trt_ros.detect.cuda.runtime import SETUP_LOCK, CudaDevice
from yolox_trt_ros.detect.cuda.step import Step

CALLS = 50
LIKE_A_LANE = 'onnxruntime fp16'
NHWC = {'prefer_nhwc': '1'}
PLAIN, FUSED = {'prefer_nhwc': '0', 'fuse_conv_bias': '0'}, {'fuse_conv_bias': '1'}
FINE, FAST = {'cudnn_conv_algo_search': 'EXHAUSTIVE'}, {'cudnn_conv_algo_search': 'HEURISTIC'}
VARIANTS: dict[str, tuple[str, dict[str, str]]] = {
    'onnxruntime fp32': ('fp32', {}),
    'onnxruntime fp32, heuristic': ('fp32', FAST),
    'onnxruntime tf32': ('tf32', {}),
    'onnxruntime tf32, channels last': ('tf32', NHWC | FUSED),
    LIKE_A_LANE: ('fp16', {}),
    'onnxruntime fp16, heuristic': ('fp16', FAST),
    'onnxruntime fp16, bias apart': ('fp16', NHWC | {'fuse_conv_bias': '0'} | FINE),
    'onnxruntime fp16, bias apart, heuristic': ('fp16', NHWC | {'fuse_conv_bias': '0'} | FAST),
    'onnxruntime fp16, channels first': ('fp16', PLAIN | FINE),
    'onnxruntime fp16, channels first, heuristic': ('fp16', PLAIN | FAST),
}
TORCH = ('eager', 'graph', 'compiled graph')


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument('--model', default='edge_s', help='ONNX file or name (default: edge_s)')
    parser.add_argument('--labels', default='', help='text file, one class name a line')
    parser.add_argument('--device', type=int, default=0, help='the N of cuda:N')
    parser.add_argument('--batches', type=int, nargs='+', default=(1, 2, 4, 8))
    parser.add_argument(
        '--only', nargs='+', default=(), metavar='WORD',
        help='rows of these names, or whose name has one of these words (default: all)',
    )  # fmt: skip


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Return milliseconds of a batch, and seconds until it first ran, for each row."""
    device = CudaDevice(args.device)
    model = load_model(build(ModelConfig, {'path': args.model, 'labels': args.labels}))
    result: dict[str, Any] = {'gpu': device.name, 'model': model.path.name, 'rows': {}}
    lane = LaneConfig('bench', device=f'cuda:{args.device}', max_batch=max(args.batches))
    every = dict(_rows(model, lane, device))
    for name, run in every.items():
        if args.only and not any(_named(name, word, every) for word in args.only):
            continue
        row: dict[str, Any] = {}
        for size in args.batches:
            begun = time.monotonic()
            try:
                timed = run(size)
            except (YoloxTrtRosError, ImportError, RuntimeError) as error:
                row[str(size)] = {'left_out': str(error).partition('\n')[0]}
                break
            row[str(size)] = {
                'ms': round(timed.ms, 4), 'start_s': round(timed.start_s, 2),
                'whole_s': round(time.monotonic() - begun, 2), 'recorded': timed.recorded,
            }  # fmt: skip
        result['rows'][name] = row
        print(f'{name}: {row}', flush=True)
    return result


def rows(result: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the table of a result."""
    table = [('GPU', result['gpu']), ('model', result['model'])]
    for name, row in result['rows'].items():
        cells = [
            one.get('left_out')
            or f'{size}: {one["ms"]:.2f} ms ({one["start_s"]:.0f} s'
            + ('' if one['recorded'] else ', one by one')
            + ')'
            for size, one in row.items()
        ]
        table.append((name, '  '.join(cells)))
    return table


@dataclass(frozen=True, slots=True)
class Timed:
    """One batch size of one row.

    Attributes:
        ms: of one batch on the device.
        start_s: until it had run once.
        recorded: whether it is a CUDA graph.
    """

    ms: float
    start_s: float
    recorded: bool


Run = Callable[[int], Timed]


def _named(name: str, word: str, every: Container[str]) -> bool:
    return name == word if word in every else word in name


def _rows(model: Model, lane: LaneConfig, device: CudaDevice) -> Iterator[tuple[str, Run]]:
    for name, (precision, options) in VARIANTS.items():
        yield name, partial(_onnxruntime, model, lane, device, precision, options)
    for kind in TORCH:
        yield f'pytorch fp16, {kind}', partial(_pytorch, model, lane, device, kind)
    yield 'tensorrt fp16', partial(_tensorrt, model, lane)


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
    stream, begun = device.stream(), time.monotonic()
    backend = OnnxRuntimeCudaBackend(
        model.path, prepared.spec, device, stream, size, prepared, options, [size]
    )
    try:
        return _timed(backend, stream, size, begun)
    finally:
        backend.close()


def _tensorrt(model: Model, lane: LaneConfig, size: int) -> Timed:
    from yolox_trt_ros.detect.backends.tensorrt import TensorRtBackend

    lane = replace(lane, backend='tensorrt', precision='fp16')
    engine, device, core = loadable_engine(lane, engine_of_lane(lane, model, EnginesConfig()))
    stream, begun = device.stream(), time.monotonic()
    backend = TensorRtBackend(engine, model.spec, device, stream, size, core)
    try:
        return _timed(backend, stream, size, begun)
    finally:
        backend.close()


def _timed(backend: Any, stream: Any, size: int, begun: float) -> Timed:
    with SETUP_LOCK, stream:
        backend.infer(size)
        stream.synchronize()
        start_s = time.monotonic() - begun
        step = Step(stream, [size], backend.infer, backend.recordable)
    ms = timed_us(stream, lambda _: step.launch(size), CALLS) / 1e3
    return Timed(ms, start_s, step.recorded)


def _pytorch(model: Model, lane: LaneConfig, device: CudaDevice, kind: str, size: int) -> Timed:
    import torch

    from benchmarks.support.torch_model import OnnxModule

    # The layers in float32: PyTorch halves them itself.
    prepared = _prepared(model, lane, 'tf32')
    begun = time.monotonic()
    where = torch.device('cuda', device.index)
    torch.backends.cudnn.benchmark = True
    channels_last = torch.channels_last
    network: Any = OnnxModule(onnx.load_model_from_string(prepared.content)).half().to(where)
    network = network.eval().to(memory_format=channels_last)
    image = prepared.spec.input
    shape = size, 3, image.height, image.width
    given = torch.zeros(shape, dtype=torch.half, device=where).to(memory_format=channels_last)
    if kind == 'compiled graph':
        network = torch.compile(network, mode='max-autotune-no-cudagraphs')
    with torch.inference_mode():
        stream = torch.cuda.Stream(where)
        with torch.cuda.stream(stream):
            for _ in range(3):
                network(given)
            stream.synchronize()
            start_s = time.monotonic() - begun
            if kind != 'eager':
                graph = torch.cuda.CUDAGraph()
                with torch.cuda.graph(graph, stream=stream):
                    network(given)
            run = graph.replay if kind != 'eager' else lambda: network(given)
            return Timed(_torch_ms(torch, stream, run), start_s, kind != 'eager')


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
