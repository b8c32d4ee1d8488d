"""Camera images to network input: the fused kernel against separate kernels and other libraries."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np

from benchmarks.support.gpu_timing import copy_bandwidth, replayed_us, timed_us
from yolox_trt_ros.core.frame import Frame
from yolox_trt_ros.core.model import InputSpec, Letterbox
from yolox_trt_ros.detect.cpu.preprocess import CpuPreprocessor
from yolox_trt_ros.detect.cuda.batch import BatchTable, Pixels
from yolox_trt_ros.detect.cuda.preprocess import CudaPreprocessor, InputFormat
from yolox_trt_ros.detect.cuda.runtime import CudaDevice, require_cupy

SETS = 6
"""Input and output buffers that calls rotate among, so that no cache holds them."""

SEPARATE = r"""
struct Half { unsigned short bits; };

extern "C" __global__ void resize(const unsigned char* in, int height, int width,
                                  unsigned char* out, int out_height, int out_width) {
  const int x = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y * blockDim.y + threadIdx.y;
  if (x >= out_width || y >= out_height) return;
  in += static_cast<long long>(blockIdx.z) * height * width * 3;
  out += static_cast<long long>(blockIdx.z) * out_height * out_width * 3;
  const float u = fmaxf((x + 0.5f) * width / out_width - 0.5f, 0.0f);
  const float v = fmaxf((y + 0.5f) * height / out_height - 0.5f, 0.0f);
  const int x0 = u, y0 = v, x1 = min(x0 + 1, width - 1), y1 = min(y0 + 1, height - 1);
  const float a = u - x0, b = v - y0;
  for (int c = 0; c < 3; ++c) {
    const float top = in[(y0 * width + x0) * 3 + c] * (1 - a) + in[(y0 * width + x1) * 3 + c] * a;
    const float low = in[(y1 * width + x0) * 3 + c] * (1 - a) + in[(y1 * width + x1) * 3 + c] * a;
    out[(y * out_width + x) * 3 + c] = __float2int_rn(top * (1 - b) + low * b);
  }
}

extern "C" __global__ void letterbox(const unsigned char* in, int in_height, int in_width,
                                     unsigned char* out, int height, int width, int pad) {
  const int x = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y * blockDim.y + threadIdx.y;
  if (x >= width || y >= height) return;
  in += static_cast<long long>(blockIdx.z) * in_height * in_width * 3;
  out += static_cast<long long>(blockIdx.z) * height * width * 3;
  const bool inside = x < in_width && y < in_height;
  for (int c = 0; c < 3; ++c) {
    out[(y * width + x) * 3 + c] = inside ? in[(y * in_width + x) * 3 + c] : pad;
  }
}

extern "C" __global__ void transpose(const unsigned char* in, unsigned char* out, int pixels) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= pixels) return;
  const long long image = static_cast<long long>(blockIdx.z) * pixels * 3;
  for (int c = 0; c < 3; ++c) {
    out[image + static_cast<long long>(c) * pixels + i] = in[image + 3ll * i + c];
  }
}

extern "C" __global__ void cast(const unsigned char* in, Half* out, int values) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= values) return;
  const long long at = static_cast<long long>(blockIdx.z) * values + i;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(out[at].bits) : "f"(static_cast<float>(in[at])));
}
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument('--device', type=int, default=0, help='the N of cuda:N')
    parser.add_argument('--size', type=int, nargs=2, default=(1920, 1280), metavar=('W', 'H'))
    parser.add_argument('--input', type=int, nargs=2, default=(960, 608), metavar=('W', 'H'))
    parser.add_argument('--batch', type=int, default=8)


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Return microseconds of one batch of bgr8 images to float16 NCHW by each implementation."""
    device = CudaDevice(args.device)
    cupy = require_cupy()
    stream = cupy.cuda.Stream(non_blocking=True)
    case = Case(device, args.size, args.input, args.batch, stream)
    bandwidth = copy_bandwidth(stream)
    fused = case.fused(args.batch)
    one = case.fused(1)
    others: dict[str, Callable[[], float]] = {
        'four separate kernels': case.separate,
        'PyTorch': case.torch,
        'CV-CUDA': case.cvcuda,
        'OpenCV, one core': case.opencv,
    }
    times: dict[str, float | None] = {}
    for name, measured in others.items():
        try:
            times[name] = round(measured(), 2)
        except ImportError:
            times[name] = None
    return {
        'gpu': device.name,
        'image': list(args.size),
        'input': list(args.input),
        'batch': args.batch,
        'copy_gb_per_s': round(bandwidth / 1e9, 1),
        'bytes': case.bytes(args.batch),
        'fused_us': round(fused, 2),
        'fused_gb_per_s': round(case.bytes(args.batch) / fused / 1e3, 1),
        'share_of_copy': round(case.bytes(args.batch) / fused * 1e6 / bandwidth, 3),
        'fused_one_image_us': round(one, 2),
        'others_us': times,
    }


def rows(result: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the table of a result."""
    fused = result['fused_us']
    size = '×'.join(map(str, result['image']))
    table = [
        ('GPU', result['gpu']),
        ('device-to-device copy', f'{result["copy_gb_per_s"]:.0f} GB/s'),
        (f'fused, {result["batch"]} × {size} bgr8', f'{fused:.1f} µs'),
        ('  of the copy bandwidth', f'{result["share_of_copy"]:.0%}'),
        ('fused, one image', f'{result["fused_one_image_us"]:.1f} µs'),
    ]
    for name, time_us in result['others_us'].items():
        text = 'not installed' if time_us is None else f'{time_us:.0f} µs = {time_us / fused:.1f} ×'
        table.append((name, text))
    return table


class Case:
    """One batch size, image size and input size, and every implementation."""

    def __init__(
        self,
        device: CudaDevice,
        size: tuple[int, int],
        network: tuple[int, int],
        batch: int,
        stream: Any,
    ) -> None:
        self._cupy = require_cupy()
        self._device, self._stream, self._batch = device, stream, batch
        self._width, self._height = size
        width, height = network
        self._spec = InputSpec('images', 0, height, width)
        self._box = Letterbox.fit(self._height, self._width, self._spec)
        rng = np.random.default_rng(0)
        self._host = rng.integers(0, 256, (batch, self._height, self._width, 3), np.uint8)
        self._images = [self._cupy.asarray(self._host) for _ in range(SETS)]
        shape = (batch, 3, height, width)
        self._outputs = [self._cupy.zeros(shape, np.float16) for _ in range(SETS)]
        self._cupy.cuda.Device().synchronize()

    def bytes(self, images: int) -> int:
        """Return the fewest bytes that must move: source pixels with a weight, and the output."""
        columns = _touched(self._width, self._box.width)
        needed = columns * _touched(self._height, self._box.height) * 3
        return images * (needed + 3 * self._spec.height * self._spec.width * 2)

    def fused(self, images: int) -> float:
        """Time our kernel."""
        preprocessor = CudaPreprocessor(self._spec, self._device, InputFormat(np.float16))
        size = self._height * self._width * 3
        pixels = Pixels('bgr8', self._height, self._width, self._width * 3)
        image_bytes = self._outputs[0].nbytes // self._batch
        calls = []
        for images_of, output in zip(self._images, self._outputs, strict=True):
            # A single image walks through all images, so that no cache holds the next one.
            for place in range(self._batch - images + 1):
                start = images_of.data.ptr + place * size
                batch = BatchTable(self._device)
                preprocessor.describe([(pixels, start + k * size) for k in range(images)], batch)
                calls.append((batch, output.data.ptr + place * image_bytes))
        self._cupy.cuda.Device().synchronize()
        for batch, _ in calls:
            batch.upload(self._stream)

        def work(i: int) -> None:
            batch, target = calls[i]
            preprocessor.enqueue(images, batch.address, target)

        return replayed_us(self._stream, work, len(calls))

    def separate(self) -> float:
        """Time resize, letterbox, transpose and cast, each by a kernel of its own."""
        cupy, box, spec = self._cupy, self._box, self._spec
        module = cupy.RawModule(code=SEPARATE, options=('-std=c++17',))
        names = ('resize', 'letterbox', 'transpose', 'cast')
        resize, letterbox, transpose, cast = map(module.get_function, names)
        resized = cupy.empty((self._batch, box.height, box.width, 3), np.uint8)
        boxed = cupy.empty((self._batch, spec.height, spec.width, 3), np.uint8)
        planes = cupy.empty_like(boxed)
        block = (32, 8)

        def grid(height: int, width: int) -> tuple[int, int, int]:
            return -(-width // block[0]), -(-height // block[1]), self._batch

        def i4(*values: int) -> tuple[Any, ...]:
            return tuple(np.int32(v) for v in values)

        def work(i: int) -> None:
            image, out = self._images[i % SETS], self._outputs[i % SETS]
            sizes = i4(self._height, self._width)
            resize(grid(box.height, box.width), block,
                   (image, *sizes, resized, *i4(box.height, box.width)))  # fmt: skip
            letterbox(grid(spec.height, spec.width), block,
                      (resized, *i4(box.height, box.width), boxed,
                       *i4(spec.height, spec.width, spec.pad)))  # fmt: skip
            pixels = spec.height * spec.width
            transpose((-(-pixels // 256), 1, self._batch), (256,), (boxed, planes, *i4(pixels)))
            cast((-(-3 * pixels // 256), 1, self._batch), (256,), (planes, out, *i4(3 * pixels)))

        return replayed_us(self._stream, work, SETS)

    def torch(self) -> float:
        """Time interpolation, padding and cast as PyTorch programs do them."""
        import torch
        from torch.nn.functional import interpolate, pad

        box, spec = self._box, self._spec
        images = [torch.as_tensor(image, device='cuda') for image in self._images]
        border = (0, spec.width - box.width, 0, spec.height - box.height)

        def work(i: int) -> None:
            planes = images[i % SETS].permute(0, 3, 1, 2).float()
            small = interpolate(planes, (box.height, box.width), mode='bilinear')
            pad(small, border, value=float(spec.pad)).half()

        external = torch.cuda.ExternalStream(self._stream.ptr)
        with torch.cuda.stream(external):
            return timed_us(self._stream, work, 20)

    def cvcuda(self) -> float:
        """Time CV-CUDA's operators on the whole batch; they end in float32."""
        import cvcuda
        import torch

        box, spec = self._box, self._spec
        images = [
            cvcuda.as_tensor(torch.as_tensor(image, device='cuda'), 'NHWC')
            for image in self._images
        ]
        external = torch.cuda.ExternalStream(self._stream.ptr)
        stream = cvcuda.as_stream(external)

        def work(i: int) -> None:
            shape = (self._batch, box.height, box.width, 3)
            small = cvcuda.resize(images[i % SETS], shape, cvcuda.Interp.LINEAR, stream=stream)
            boxed = cvcuda.copymakeborder(
                small, border_mode=cvcuda.Border.CONSTANT, border_value=[float(spec.pad)] * 3,
                top=0, left=0, bottom=spec.height - box.height, right=spec.width - box.width,
                stream=stream,
            )  # fmt: skip
            planes = cvcuda.reformat(boxed, 'NCHW', stream=stream)
            cvcuda.convertto(planes, np.float32, stream=stream)  # it writes no float16

        return timed_us(self._stream, work, 20)

    def opencv(self) -> float:
        """Time the package's CPU path and the conversion to float16 on one core."""
        threads = cv2.getNumThreads()
        cv2.setNumThreads(1)
        preprocessor = CpuPreprocessor(self._spec)
        target = preprocessor.new_input(self._batch)
        frames = [
            Frame('bench', 0, 0, 0, '', 'bgr8', self._height, self._width, self._width * 3,
                  image.reshape(-1))
            for image in self._host
        ]  # fmt: skip
        spans = []
        for _ in range(4):
            start = time.perf_counter()
            for frame, place in zip(frames, target, strict=True):
                preprocessor.write(frame, place)
            target.astype(np.float16)
            spans.append(time.perf_counter() - start)
        cv2.setNumThreads(threads)
        return float(np.median(spans)) * 1e6


def _touched(size: int, out: int) -> int:
    """Return how many of ``size`` source rows or columns bilinear sampling reads."""
    at = (np.arange(out) + 0.5) * size / out - 0.5
    first = np.clip(np.floor(at).astype(int), 0, size - 1)
    return len(np.unique(np.concatenate((first, np.minimum(first + 1, size - 1)))))
