"""JPEG images to pixels: nvJPEG on a CUDA device against OpenCV on one CPU core and on four."""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import cv2
import numpy as np

from yolox_trt_ros.core.frame import Frame
from yolox_trt_ros.detect.cpu.decode import decode_compressed
from yolox_trt_ros.detect.cuda.detector import COPY_THREADS
from yolox_trt_ros.detect.cuda.jpeg import GpuJpeg
from yolox_trt_ros.detect.cuda.runtime import CudaDevice

GRAIN = 6.0
"""Standard deviation of the noise in the images, of 255: what makes a photograph's file large."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument('--device', type=int, default=0, help='the N of cuda:N')
    parser.add_argument('--size', type=int, nargs=2, default=(1920, 1280), metavar=('W', 'H'))
    parser.add_argument('--batch', type=int, default=8)
    parser.add_argument('--quality', type=int, default=90, help='of the JPEG files')
    parser.add_argument('--seconds', type=float, default=2.0, help='length of each run')


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Return images per second by each decoder, and the host's work for an image on the GPU."""
    device = CudaDevice(args.device)
    jpeg, stream = GpuJpeg(args.device), device.stream()
    frames = [_frame(args, seed) for seed in range(args.batch)]
    kept: list[Any] = []
    enqueued: list[float] = []

    def on_gpu() -> None:
        start = time.perf_counter()
        jpeg.decode(frames, kept, stream)
        enqueued.append(time.perf_counter() - start)
        stream.synchronize()

    def on_cpu() -> None:
        for frame in frames:
            decode_compressed(frame)

    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    with ThreadPoolExecutor(COPY_THREADS) as pool:
        rates = {
            'nvjpeg_per_s': _rate(on_gpu, args),
            'opencv_one_core_per_s': _rate(on_cpu, args),
            'opencv_pool_per_s': _rate(lambda: list(pool.map(decode_compressed, frames)), args),
        }
    cv2.setNumThreads(threads)
    return {
        'gpu': device.name,
        'library': jpeg.name,
        'image': list(args.size),
        'batch': args.batch,
        'file_kb': round(float(np.mean([frame.data.size for frame in frames])) / 1e3, 1),
        'threads': COPY_THREADS,
        'nvjpeg_host_ms_per_image': round(float(np.median(enqueued)) * 1e3 / args.batch, 3),
        **{name: round(rate, 1) for name, rate in rates.items()},
    }


def rows(result: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the table of a result."""
    size = '×'.join(map(str, result['image']))
    ours = result['nvjpeg_per_s']
    one, pool = result['opencv_one_core_per_s'], result['opencv_pool_per_s']
    return [
        ('GPU', result['gpu']),
        ('images', f'{result["batch"]} × {size}, {result["file_kb"]:.0f} kB each'),
        (result['library'], f'{ours:.0f} images/s'),
        ('  its host work', f'{result["nvjpeg_host_ms_per_image"]:.2f} ms per image'),
        ('OpenCV, one core', f'{one:.0f} images/s = 1 / {ours / one:.1f}'),
        (f'OpenCV, {result["threads"]} threads', f'{pool:.0f} images/s = 1 / {ours / pool:.1f}'),
    ]


def _rate(work: Callable[[], Any], args: argparse.Namespace) -> float:
    for _ in range(2):
        work()
    start = time.monotonic()
    for count in itertools.count(1):
        work()
        elapsed = time.monotonic() - start
        if elapsed >= args.seconds:
            return count * args.batch / elapsed
    raise AssertionError


def _frame(args: argparse.Namespace, seed: int) -> Frame:
    width, height = args.size
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (24, 36, 3), np.uint8)
    image = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    image = np.clip(image + rng.normal(0, GRAIN, image.shape), 0, 255).astype(np.uint8)
    data = cv2.imencode('.jpg', image, (cv2.IMWRITE_JPEG_QUALITY, args.quality))[1].reshape(-1)
    return Frame('bench', seed, 0, 0, '', 'jpeg', height, width, 0, data)
