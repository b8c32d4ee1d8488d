"""The CUDA detector: what it adds to inference, how well copies hide, and what a lane sustains.

Host work is the time in which a lane's thread works for a batch: from the call of ``submit`` to its
return, and from the end of the batch on the GPU to the list of results. The sleep in between is not
part of it. Images in pinned memory, as the node receives them, are not copied by the host; of
pageable images ``submit`` also waits for the threads that copy them to pinned memory.
"""

from __future__ import annotations

import argparse
import itertools
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from benchmarks.pipeline import test_images
from benchmarks.support.gpu_backend import backend_of
from benchmarks.support.gpu_timing import timed_us
from yolox_trt_ros.compose import Model, load_model
from yolox_trt_ros.core.config import PRECISIONS, LaneConfig, ModelConfig
from yolox_trt_ros.core.detector import Detected
from yolox_trt_ros.core.errors import ConfigError
from yolox_trt_ros.core.frame import Frame
from yolox_trt_ros.core.model import ModelSpec, Thresholds
from yolox_trt_ros.core.parameters import build
from yolox_trt_ros.detect.cuda.detector import CudaDetector
from yolox_trt_ros.detect.cuda.runtime import SETUP_LOCK, CudaDevice
from yolox_trt_ros.detect.cuda.step import Step
from yolox_trt_ros.detect.heads.yolox.head import YoloxHead

CALLS = 30
TIMELINE = 12
"""Batches whose copies and computation are laid side by side."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument('--model', default='', help='ONNX file (default: the packaged model)')
    parser.add_argument('--labels', default='', help='text file, one class name a line')
    parser.add_argument(
        '--torchscript', type=Path, help='the same network for PyTorch, ending in the same outputs'
    )
    parser.add_argument('--device', type=int, default=0, help='the N of cuda:N')
    parser.add_argument('--backend', choices=('onnxruntime', 'tensorrt'), default='onnxruntime')
    parser.add_argument('--precision', choices=PRECISIONS, default='auto')
    parser.add_argument('--size', type=int, nargs=2, default=(1920, 1280), metavar=('W', 'H'))
    parser.add_argument('--batches', type=int, nargs='+', default=(1, 4, 8, 16))
    parser.add_argument('--in-flight', type=int, default=2, help='batches at a time (default: 2)')
    parser.add_argument('--seconds', type=float, default=2.0, help='length of a sustained run')


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Return times per batch and sustained rates for each batch size."""
    result: dict[str, Any] = {'gpu': CudaDevice(args.device).name, 'image': list(args.size)}
    model = load_model(build(ModelConfig, {'path': args.model, 'labels': args.labels}))
    spec = model.spec
    images = test_images(args.size[0], args.size[1], max(args.batches))
    result |= {'model': model.path.name, 'in_flight': args.in_flight, 'batches': {}}
    for size in args.batches:
        lane = LaneConfig(
            '', f'cuda:{args.device}', args.backend, size, args.in_flight, precision=args.precision
        )
        rig = Rig(model, lane)
        row = rig.measure(images[:size], args.seconds)
        rig.detector.close()
        row['two_lanes_per_s'] = _two_lanes(model, lane, images[:size], args.seconds)
        if args.torchscript:
            row['pytorch_per_s'] = _pytorch(args.torchscript, spec, images[:size], args.seconds)
        row = {k: v if isinstance(v, bool) else round(v, 4) for k, v in row.items()}
        result['batches'][str(size)] = row | {'timeline_ms': rig.timeline}
        args.save(result)
    return result


def rows(result: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the table of a result."""
    table = [('GPU', result['gpu']), ('model', result['model'])]
    for size, row in result['batches'].items():
        extra = row['batch_ms'] / row['inference_ms'] - 1
        table += [
            (f'batch {size}: inference alone', f'{row["inference_ms"]:.2f} ms'),
            ('  whole batch, sustained', f'{row["batch_ms"]:.2f} ms = {extra:+.1%}'),
            (
                '  its copy to the device',
                f'{row["copy_ms"]:.2f} ms, {row["copy_hidden"]:.0%} behind computation',
            ),
            (
                '  host work, submit and collect',
                f'{row["submit_ms"]:.3f} + {row["collect_ms"]:.3f} ms',
            ),
            ('  CPU time of the thread', f'{row["thread_cpu_ms"]:.3f} ms'),
            ('  host work, kernels launched one by one', f'{row["unrecorded_host_ms"]:.3f} ms'),
            ('  host work with copies of pageable images', f'{row["pageable_host_ms"]:.3f} ms'),
            (
                '  images/s, one lane, two lanes',
                f'{row["per_s"]:.0f}, {row["two_lanes_per_s"]:.0f}',
            ),
            ('  images/s, pageable images', f'{row["pageable_per_s"]:.0f}'),
        ]
        if 'pytorch_per_s' in row:
            table.append(('  images/s, plain PyTorch', f'{row["pytorch_per_s"]:.0f}'))
    return table


@dataclass(slots=True)
class Sustained:
    """What a run at full load gave: images per second, host milliseconds per batch."""

    per_s: float
    submit_ms: float
    collect_ms: float
    thread_cpu_ms: float

    @property
    def host_ms(self) -> float:
        """Return the host's work for one batch."""
        return self.submit_ms + self.collect_ms


class Rig:
    """One detector and its parts within reach; made on the thread that uses it."""

    def __init__(self, model: Model, lane: LaneConfig) -> None:
        self.device = CudaDevice(int(lane.device.removeprefix('cuda:')))
        self.stream = self.device.stream()
        self.batch, self._depth = lane.max_batch, lane.in_flight
        self._spec, self.backend = backend_of(lane, model, self.device, self.stream)
        self.detector = self._detector()
        self.timeline: list[dict[str, list[float]]] = []

    def measure(self, images: list[np.ndarray], seconds: float) -> dict[str, float]:
        """Return milliseconds per batch and images per second."""
        locked = [self.locked(image) for image in images]
        self.detector.submit(locked).wait()
        sustained = self.sustain(self.detector, locked, seconds)
        pageable = self.sustain(self.detector, [Frame.of(image) for image in images], seconds)
        return {
            'inference_ms': self._inference_ms(),
            'copy_ms': self._copy_ms(locked),
            'copy_hidden': self._copy_hidden(locked),
            'recorded': self.detector.recorded,
            'batch_ms': self.batch / sustained.per_s * 1e3,
            'submit_ms': sustained.submit_ms,
            'collect_ms': sustained.collect_ms,
            'host_ms': sustained.host_ms,
            'thread_cpu_ms': sustained.thread_cpu_ms,
            'unrecorded_host_ms': self._unrecorded(locked, seconds).host_ms,
            'per_s': sustained.per_s,
            'pageable_per_s': pageable.per_s,
            'pageable_host_ms': pageable.host_ms,
        }

    def sustain(self, detector: CudaDetector, frames: list[Frame], seconds: float) -> Sustained:
        """Keep as many batches in flight as the lane may."""
        running: deque[Any] = deque(detector.submit(frames) for _ in range(self._depth - 1))
        submits, collects, done = [], [], 0
        start = now = time.monotonic()
        cpu = time.thread_time()
        while now - start < seconds:
            begin = time.perf_counter()
            running.append(detector.submit(frames))
            submits.append(time.perf_counter() - begin)
            oldest = running.popleft()
            oldest.slot.decoded.synchronize()  # to wait is no work
            begin = time.perf_counter()
            results = oldest.wait()
            collects.append(time.perf_counter() - begin)
            assert all(isinstance(r, Detected) for r in results)
            done += len(results)
            now = time.monotonic()
        spent = (time.thread_time() - cpu) / len(submits)
        for ticket in running:
            ticket.wait()
        submit, collect = (float(np.median(spans)) * 1e3 for spans in (submits, collects))
        return Sustained(done / (now - start), submit, collect, spent * 1e3)

    def locked(self, image: np.ndarray) -> Frame:
        """Return the image in pinned memory."""
        memory = self.device.pinned(image.size, np.uint8)
        memory[:] = image.reshape(-1)
        return Frame.of(memory.reshape(image.shape))

    def _detector(self) -> CudaDetector:
        return CudaDetector(
            self._spec, self.device, self.stream, self.backend, Thresholds, self.batch, self._depth
        )

    def _inference_ms(self) -> float:
        """Return the time of the network alone, as a CUDA graph of its own."""
        with SETUP_LOCK, self.stream:
            network = Step(self.stream, [self.batch], self.backend.infer)
        return timed_us(self.stream, lambda _: network.launch(self.batch), CALLS) / 1e3

    def _unrecorded(self, frames: list[Frame], seconds: float) -> Sustained:
        """Run the same kernels without a CUDA graph; the backend is closed then."""
        self.backend.recordable = False
        detector = self._detector()
        try:
            return self.sustain(detector, frames, seconds)
        finally:
            detector.close()

    def _copy_hidden(self, frames: list[Frame]) -> float:
        """Return which part of the copies ran while another batch was computed."""
        base = self.device.event()
        base.record(self.stream)
        running: deque[tuple[Any, Any]] = deque()
        for _ in range(TIMELINE):
            uploading = self.device.event()
            uploading.record(self.detector.copies)
            running.append((uploading, self.detector.submit(frames)))
            if len(running) == self._depth:
                self.timeline.append(self._spans(base, *running.popleft()))
        self.timeline += [self._spans(base, *one) for one in running]
        computed = [span['computed'] for span in self.timeline]
        copied = [span['copied'] for span in self.timeline[1:]]  # nothing runs beside the first
        hidden = sum(
            max(0.0, min(end, b) - max(begin, a)) for begin, end in copied for a, b in computed
        )
        return hidden / sum(end - begin for begin, end in copied)

    def _spans(self, base: Any, uploading: Any, ticket: Any) -> dict[str, list[float]]:
        """Return when a batch was copied and computed, milliseconds after ``base``."""
        ticket.wait()
        slot = ticket.slot
        begun, first, uploaded, decoded = (
            round(self.device.elapsed_ns(base, event) / 1e6, 3)
            for event in (slot.begun, uploading, slot.uploaded, slot.decoded)
        )
        return {'copied': [first, uploaded], 'computed': [max(begun, uploaded), decoded]}

    def _copy_ms(self, frames: list[Frame]) -> float:
        with self.stream:
            target = self.device.zeros((max(frame.data.size for frame in frames),), np.uint8)
        address = self.device.address

        def copy(_: int) -> None:
            for data in (frame.data for frame in frames):
                self.device.upload(address(target), address(data), data.size, self.stream)

        return timed_us(self.stream, copy, CALLS) / 1e3


def _two_lanes(model: Model, config: LaneConfig, images: list[np.ndarray], seconds: float) -> float:
    ready = threading.Barrier(2)

    def lane() -> float:
        try:
            rig = Rig(model, config)
        except Exception:
            ready.abort()
            raise
        frames = [rig.locked(image) for image in images]
        rig.detector.submit(frames).wait()
        ready.wait()
        rate = rig.sustain(rig.detector, frames, seconds).per_s
        rig.detector.close()
        return rate

    with ThreadPoolExecutor(2) as threads:
        lanes = [threads.submit(lane) for _ in range(2)]
    return sum(future.result() for future in lanes)


def _pytorch(path: Path, spec: ModelSpec, images: list[np.ndarray], seconds: float) -> float:
    """Return images per second of OpenCV letterbox, PyTorch in half precision, torchvision NMS."""
    import torch

    network = torch.jit.load(path).cuda().half().eval()
    decode = _torch_decode(spec)

    fed = spec.input

    def step() -> None:
        canvas = np.full((len(images), fed.height, fed.width, 3), fed.pad, np.uint8)
        ratios = []
        for image, place in zip(images, canvas, strict=True):
            ratio = min(fed.height / image.shape[0], fed.width / image.shape[1])
            size = int(image.shape[1] * ratio), int(image.shape[0] * ratio)
            place[: size[1], : size[0]] = cv2.resize(image, size)
            ratios.append(ratio)
        batch = torch.from_numpy(canvas.transpose(0, 3, 1, 2).copy()).cuda().half()
        with torch.inference_mode():
            decode(network(batch * fed.scale), ratios)

    for _ in range(3):
        step()
    start = time.monotonic()
    for count in itertools.count(1):
        step()
        if time.monotonic() - start >= seconds:
            return count * len(images) / (time.monotonic() - start)
    raise AssertionError


def _torch_decode(spec: ModelSpec) -> Callable[[Any, list[float]], Any]:
    import torch
    from torchvision.ops import batched_nms

    yolox = spec.head
    if not isinstance(yolox, YoloxHead):
        raise ConfigError(f'the PyTorch pipeline decodes YOLOX only, got {yolox.family}')
    cells, strides = [], []
    for stride, (height, width) in zip(yolox.strides, yolox.grids(spec.input), strict=True):
        y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing='ij')
        cells.append(torch.stack((x, y), 2).reshape(-1, 2))
        strides.append(torch.full((height * width, 1), stride))
    cell, stride_of = torch.cat(cells).cuda(), torch.cat(strides).cuda()
    limits = Thresholds()

    def decode(outputs: Any, ratios: list[float]) -> list[Any]:
        if yolox.per_level:
            levels = [
                torch.cat(outputs[i : i + 3], 1).flatten(2) for i in range(0, len(outputs), 3)
            ]
            head = torch.cat(levels, 2).transpose(1, 2).float()
        else:
            head = outputs.float()
        if yolox.scores == 'logit':
            head = torch.cat((head[..., :4], head[..., 4:].sigmoid()), 2)
        if yolox.boxes == 'grid':
            centre = (head[..., :2] + cell) * stride_of
            head = torch.cat((centre, head[..., 2:4].exp() * stride_of, head[..., 4:]), 2)
        found = []
        for rows_of, ratio in zip(head, ratios, strict=True):
            score, class_id = (rows_of[:, 4:5] * rows_of[:, 5:]).max(1)
            sure = score > limits.score
            centre, half = rows_of[sure, :2], rows_of[sure, 2:4] / 2
            boxes = torch.cat((centre - half, centre + half), 1) / ratio
            kept = batched_nms(boxes, score[sure], class_id[sure], limits.nms_iou)
            found.append(boxes[kept].cpu())
        return found

    return decode
