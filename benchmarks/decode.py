"""Head outputs to detections on the GPU, against torchvision's batched NMS."""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np

from benchmarks.support.gpu_timing import replayed_us, timed_us
from yolox_trt_ros.core.model import InputSpec, ModelSpec, Thresholds
from yolox_trt_ros.detect.cuda.batch import BatchTable
from yolox_trt_ros.detect.cuda.postprocess import CudaPostprocessor
from yolox_trt_ros.detect.cuda.runtime import CudaDevice, require_cupy
from yolox_trt_ros.detect.heads.yolox.head import YoloxHead

CLASSES, OBJECTS, SETS = 80, 100, 4
LETTERBOX = 0.5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument('--device', type=int, default=0, help='the N of cuda:N')
    parser.add_argument('--input', type=int, nargs=2, default=(960, 960), metavar=('W', 'H'))
    parser.add_argument('--batch', type=int, default=8)


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Return microseconds of one batch for both head layouts, float16 logits."""
    device = CudaDevice(args.device)
    cupy = require_cupy()
    stream = cupy.cuda.Stream(non_blocking=True)
    result: dict[str, Any] = {'gpu': device.name, 'batch': args.batch, 'objects': OBJECTS}
    for layout in ('per_level', 'concatenated'):
        spec = _spec(layout, *args.input)
        heads = [_head(spec, args.batch, seed) for seed in range(SETS)]
        outputs = [[cupy.asarray(o) for o in _outputs(spec, head)] for head in heads]
        cupy.cuda.Device().synchronize()
        result['anchors'] = _yolox(spec).anchors(spec.input)
        result[f'{layout}_us'] = round(_ours(device, spec, outputs, args.batch, stream), 2)
        if layout == 'concatenated':
            result['found'] = _found(device, spec, outputs[0], args.batch, stream)
            try:
                result['torchvision_us'] = round(_torchvision(spec, outputs, stream), 1)
            except ImportError:
                result['torchvision_us'] = None
    return result


def rows(result: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the table of a result."""
    case = f'{result["batch"]} × {result["anchors"]} anchors × {5 + CLASSES}, fp16'
    table = [('GPU', result['gpu']), ('case', f'{case}, {result["objects"]} objects each')]
    for layout in ('per_level', 'concatenated'):
        table.append((layout, f'{result[f"{layout}_us"]:.1f} µs'))
    other = result['torchvision_us']
    ratio = f'{other:.0f} µs = {other / result["concatenated_us"]:.1f} ×' if other else None
    table.append(('torchvision pipeline, concatenated', ratio or 'not installed'))
    return table


def _ours(device: CudaDevice, spec: ModelSpec, outputs: Any, batch: int, stream: Any) -> float:
    decoders = [
        CudaPostprocessor(spec, device, [o.data.ptr for o in one], np.float16, batch)
        for one in outputs
    ]
    place, described = decoders[0].new_result(), _described(device, decoders[0], batch, stream)

    def work(i: int) -> None:
        decoders[i % SETS].enqueue(batch, described.address, device.address(place))

    return replayed_us(stream, work, 5 * SETS)


def _found(device: CudaDevice, spec: ModelSpec, outputs: Any, batch: int, stream: Any) -> list[int]:
    decoder = CudaPostprocessor(spec, device, [o.data.ptr for o in outputs], np.float16, batch)
    place, described = decoder.new_result(), _described(device, decoder, batch, stream)
    with stream:
        decoder.enqueue(batch, described.address, device.address(place))
    stream.synchronize()
    return [len(found) for found in decoder.detections(place, described, batch)]


def _described(
    device: CudaDevice, decoder: CudaPostprocessor, batch: int, stream: Any
) -> BatchTable:
    described = BatchTable(device)
    described.record['images'] = batch
    described.images['letterbox'][:] = LETTERBOX
    decoder.describe(Thresholds(), [''] * batch, described)
    require_cupy().cuda.Device().synchronize()
    described.upload(stream)
    return described


def _torchvision(spec: ModelSpec, outputs: Any, stream: Any) -> float:
    import torch
    from torchvision.ops import batched_nms

    yolox, cells, strides = _yolox(spec), [], []
    for stride, (height, width) in zip(yolox.strides, yolox.grids(spec.input), strict=True):
        y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing='ij')
        cells.append(torch.stack((x, y), 2).reshape(-1, 2))
        strides.append(torch.full((height * width, 1), stride))
    cell, stride_of = torch.cat(cells).cuda().float(), torch.cat(strides).cuda().float()
    heads = [torch.as_tensor(one[0], device='cuda') for one in outputs]
    limits = Thresholds()

    def work(i: int) -> None:
        head = heads[i % SETS].float()
        centre = (head[..., :2] + cell) * stride_of
        half = head[..., 2:4].exp() * stride_of / 2
        corners = torch.cat((centre - half, centre + half), 2) / LETTERBOX
        scores = head[..., 4:5].sigmoid() * head[..., 5:].sigmoid()
        for boxes, score in zip(corners, scores, strict=True):
            row, class_id = (score > limits.score).nonzero(as_tuple=True)
            kept = batched_nms(boxes[row], score[row, class_id], class_id, limits.nms_iou)
            kept = kept[: limits.max_detections]
            torch.cat(
                (boxes[row][kept], score[row, class_id][kept, None], class_id[kept, None]), 1
            ).cpu()

    with torch.cuda.stream(torch.cuda.ExternalStream(stream.ptr)):
        return timed_us(stream, work, 10)


def _spec(layout: Any, width: int, height: int) -> ModelSpec:
    outputs = tuple(f'output {i}' for i in range(9 if layout == 'per_level' else 1))
    labels = tuple(f'class {i}' for i in range(CLASSES))
    head = YoloxHead(outputs, CLASSES, (8, 16, 32), 'logit', 'grid')
    return ModelSpec(InputSpec('images', 0, height, width), head, labels)


def _yolox(spec: ModelSpec) -> YoloxHead:
    assert isinstance(spec.head, YoloxHead)
    return spec.head


def _head(spec: ModelSpec, batch: int, seed: int) -> np.ndarray:
    """Return logits in which each object shows in the 3 × 3 anchors around its centre."""
    rng = np.random.default_rng(seed)
    grids = _yolox(spec).grids(spec.input)
    shape = batch, _yolox(spec).anchors(spec.input), 5 + CLASSES
    head = rng.normal(0, 0.3, shape).astype(np.float32)
    head[..., 4:] -= 7
    for image in head:
        for _ in range(OBJECTS):
            level = rng.integers(0, len(grids))
            rows, columns = grids[level]
            first = sum(r * c for r, c in grids[:level])
            y, x = rng.integers(1, rows - 1), rng.integers(1, columns - 1)
            class_id, size = rng.integers(0, CLASSES), rng.normal(1, 0.3, 2)
            for dy, dx in np.ndindex(3, 3):
                anchor = image[first + (y + dy - 1) * columns + x + dx - 1]
                anchor[:4] = 1.5 - dx, 1.5 - dy, *size
                anchor[4] = anchor[5 + class_id] = 3 + rng.normal(0, 0.3)
    return head.astype(np.float16)


def _outputs(spec: ModelSpec, head: np.ndarray) -> list[np.ndarray]:
    if not _yolox(spec).per_level:
        return [head]
    maps, first = [], 0
    for rows, columns in _yolox(spec).grids(spec.input):
        level = head[:, first : first + rows * columns].transpose(0, 2, 1)
        level = level.reshape(len(head), -1, rows, columns)
        maps += [np.ascontiguousarray(m) for m in (level[:, :4], level[:, 4:5], level[:, 5:])]
        first += rows * columns
    return maps
