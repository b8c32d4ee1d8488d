"""Ranges of a network's tensors, for INT8 without Q/DQ nodes (TensorRT 8.5 to 10, and DLAs).

Two files hold them: the range table that ``quantize`` writes, and TensorRT's calibration cache.
"""

from __future__ import annotations

import hashlib
import math
import re
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from yolox_trt_ros.core.errors import ConfigError
from yolox_trt_ros.engine.ranges import read_ranges

STEPS = 127
"""Positive steps of an INT8 tensor; one step stands for range / STEPS."""

_LEGACY = re.compile(r'0 [0-9a-f]{16} [0-9a-f]{16}')
"""First line of the cache of TensorRT's IInt8LegacyCalibrator: quantile and cutoff, as doubles."""


@dataclass(frozen=True)
class Calibration:
    """What a file says about the tensors of one model.

    Attributes:
        path: the file.
        sha256: of its content.
        ranges: largest absolute value of each tensor, by its name in the ONNX.
        keep_fp16: outputs of the layers that stay in FP16.
        model_sha256: the ONNX file they were measured on; '' if the file does not say.
        cache: TensorRT's own file, to be handed to a calibrator; empty for a range table.
    """

    path: Path
    sha256: str
    ranges: dict[str, float]
    keep_fp16: frozenset[str] = frozenset()
    model_sha256: str = ''
    cache: bytes = b''

    def quantum(self, tensor: str) -> float:
        """Return the value of one INT8 step of a tensor.

        Raises:
            ConfigError: the tensor has no range.
        """
        self.check_covers([tensor])
        return self.ranges[tensor] / STEPS

    def check_covers(self, tensors: Iterable[str]) -> None:
        """Raise ConfigError naming the tensors that have no range."""
        missing = [tensor for tensor in tensors if tensor not in self.ranges]
        if missing:
            shown = ', '.join(missing[:5]) + (', …' if len(missing) > 5 else '')
            raise ConfigError(
                f'{self.path}: no range for {len(missing)} of the network’s tensors ({shown}): it '
                'belongs to another model; run quantize on this one'
            )


def read_calibration(path: Path) -> Calibration:
    """Return the ranges in a range table (JSON) or in a TensorRT calibration cache.

    Raises:
        ConfigError: the file is missing, damaged, or neither of the two.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConfigError(f'ranges: {path} cannot be read: {error.strerror}') from error
    if not content.lstrip().startswith(b'{'):
        return _read_cache(path, content)
    table = read_ranges(path)
    sha256 = hashlib.sha256(content).hexdigest()
    return Calibration(
        path, sha256, dict(table.ranges), frozenset(table.keep_fp16), table.model_sha256
    )


def _read_cache(path: Path, content: bytes) -> Calibration:
    try:
        ranges = cache_ranges(content)
    except ValueError as error:
        raise ConfigError(
            f'{path}: expected a range table of `quantize` or a TensorRT calibration cache, got a '
            f'file that reads as neither ({error})'
        ) from error
    return Calibration(path, hashlib.sha256(content).hexdigest(), ranges, cache=content)


def cache_ranges(content: bytes) -> dict[str, float]:
    """Return the ranges that TensorRT's calibration cache holds, in its order.

    Raises:
        ValueError: it is none, or damaged.
    """
    ranges = {}
    try:
        head, *lines = content.decode('utf-8').splitlines() or ['']
        if not (head.startswith('TRT-') and 'Calibration' in head) and not _LEGACY.fullmatch(head):
            raise ValueError(f'its first line is {head[:40]!r}')
        for line in filter(None, lines):
            name, _, scale = line.rpartition(': ')
            # The scale is a float32, written as the hexadecimal digits of its bits.
            (step,) = struct.unpack('>f', bytes.fromhex(scale.strip().zfill(8)))
            if not (math.isfinite(step) and step > 0):
                raise ValueError(f'{name} has the scale {step}')
            ranges[name] = step * STEPS
    except struct.error as error:
        raise ValueError(str(error)) from error
    return ranges
