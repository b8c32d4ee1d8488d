"""Read darknet's ``.weights``: the numbers of each convolution, its normalisation folded in.

The order of the numbers is that of ``load_convolutional_weights`` in darknet's ``src/parser.c``
(https://github.com/AlexeyAB/darknet, public domain).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from yolox_trt_ros.core.darknet_cfg import DarknetCfg, Layer
from yolox_trt_ros.core.errors import ModelError
from yolox_trt_ros.core.printing import one_line
from yolox_trt_ros.core.text_files import read_bytes

MOST_BYTES = (1 << 31) - (1 << 20)
"""An ONNX file that holds them is to stay below 2 GiB."""
EPSILON = 1e-5
"""Added to variances, as darknet does when it folds them (``fuse_conv_batchnorm``)."""


@dataclass(frozen=True, slots=True)
class Convolution:
    """The numbers of one convolution.

    Attributes:
        weight: float32 (filters, channels of a group, size, size).
        bias: float32 (filters,).
    """

    weight: np.ndarray
    bias: np.ndarray


def read_weights(path: Path, cfg: DarknetCfg) -> dict[int, Convolution]:
    """Return the convolutions of a network, by the numbers of their layers.

    Args:
        path: the ``.weights``.
        cfg: what the ``.cfg`` beside it says.

    Raises:
        ModelError: the file is missing, larger or smaller than the cfg makes it, or has numbers
            that are none.
    """
    where = one_line(path)
    shapes = {
        i: _shape(cfg, layer)
        for i, layer in enumerate(cfg.layers)
        if layer.section.kind == 'convolutional'
    }
    content = read_bytes(path, ModelError, most_bytes=MOST_BYTES, what='darknet weights')
    begin = _header(content, where)
    expected = begin + 4 * sum(_numbers(cfg.layers[i], shape) for i, shape in shapes.items())
    if len(content) != expected:
        hint = 'a backbone alone has fewer' if len(content) < expected else 'they are not its own'
        raise ModelError(
            f'{where}: expected {expected} bytes for the {len(shapes)} convolutions of the cfg, '
            f'got {len(content)}: {hint}, or the file is damaged'
        )
    numbers = np.frombuffer(content, '<f4', offset=begin)
    found, first = {}, 0
    for i, shape in shapes.items():
        count = _numbers(cfg.layers[i], shape)
        found[i] = _convolution(cfg.layers[i], shape, numbers[first : first + count], where)
        first += count
    return found


def _header(content: bytes, where: str) -> int:
    """Return how many bytes come before the numbers: version, and how many images were seen."""
    if len(content) < 16:
        raise ModelError(f'{where}: expected darknet weights, got {len(content)} bytes')
    major, minor = np.frombuffer(content, '<i4', 2).tolist()
    if not (0 <= major < 1000 and 0 <= minor < 1000):
        raise ModelError(
            f'{where}: expected darknet weights, which begin with a version such as 0.2, got '
            f'{major}.{minor}'
        )
    return 20 if major * 10 + minor >= 2 else 16


def _shape(cfg: DarknetCfg, layer: Layer) -> tuple[int, int, int, int]:
    (source,) = layer.inputs
    channels = (cfg.layers[source].shape if source >= 0 else cfg.input)[0]
    size = layer.section.count('size', 1)
    return layer.shape[0], channels // layer.section.count('groups', 1), size, size


def _normalised(layer: Layer) -> bool:
    return bool(layer.section.number('batch_normalize', 0))


def _numbers(layer: Layer, shape: tuple[int, int, int, int]) -> int:
    return math.prod(shape) + shape[0] * (4 if _normalised(layer) else 1)


def _convolution(
    layer: Layer, shape: tuple[int, int, int, int], numbers: np.ndarray, where: str
) -> Convolution:
    if not np.isfinite(numbers).all():
        raise ModelError(
            f'{where}: expected numbers for {layer.section.where}, some are infinite or none: the '
            'training failed, or the file is damaged'
        )
    filters = shape[0]
    if not _normalised(layer):
        return Convolution(numbers[filters:].reshape(shape), numbers[:filters])
    bias, scale, mean, variance = numbers[: 4 * filters].reshape(4, filters).astype(np.float64)
    if variance.min() < 0:
        raise ModelError(
            f'{where}: expected variances for {layer.section.where}, some are negative: the cfg '
            'is that of another network, or the file is damaged'
        )
    factor = scale / np.sqrt(variance + EPSILON)
    weight = numbers[4 * filters :].reshape(shape) * factor[:, None, None, None]
    return Convolution(weight.astype(np.float32), (bias - mean * factor).astype(np.float32))
