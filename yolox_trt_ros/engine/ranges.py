"""The range table: one symmetric range for each tensor of a model, for engines without Q/DQ.

TensorRT 8.5 to 10 builds INT8 engines, and all engines for DLA, from one symmetric range for each
tensor. ``quantize`` writes the table as JSON; the builder sets it tensor by tensor, or hands it
over as a calibration cache.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from yolox_trt_ros.core.errors import ModelError
from yolox_trt_ros.core.printing import one_line, shown
from yolox_trt_ros.core.text_files import member, of_kind, read_json

FORMAT, VERSION = 'yolox_trt_ros.ranges', 1
LEVELS = 127
"""The largest INT8 level: a tensor of range ±r is stored in steps of r / 127."""


@dataclass(frozen=True, slots=True)
class RangeTable:
    """Symmetric ranges of one model file's tensors.

    Attributes:
        model: name of the ONNX file.
        model_sha256: of that file; ranges of one file are wrong for another.
        method: ``minmax``, ``entropy``, ``percentile:P`` or ``fixed:R``.
        pictures: how many were looked at; 0 for ``fixed``.
        keep_fp16: output tensors of the layers that stay in FP16.
        ranges: tensor name → largest magnitude, above 0. Every tensor that is not constant has one.
    """

    model: str
    model_sha256: str
    method: str
    pictures: int
    keep_fp16: tuple[str, ...]
    ranges: Mapping[str, float]

    def to_json(self) -> str:
        """Return the table as it is written."""
        return json.dumps({'format': FORMAT, 'version': VERSION, **asdict(self)}, indent=1) + '\n'

    def digest(self) -> str:
        """Return the SHA-256 of the content, hex."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()

    def calibration_cache(self, trt_version: str) -> bytes:
        """Return the table as TensorRT's calibration cache.

        The first line names TensorRT's version and the calibrator; each further one a tensor and
        its step size, the bits of a big-endian float32 in hex. TensorRT reads a cache only if the
        first line is of its own version.

        Args:
            trt_version: like ``8.5.2`` or ``10.3.0``.

        Raises:
            ModelError: the version has not three numbers, or a tensor's name would break the file.
        """
        try:
            major, minor, patch = (int(v) for v in trt_version.split('.')[:3])
        except ValueError as error:
            raise ModelError(
                f'TensorRT version "{trt_version}": expected three numbers like 8.5.2'
            ) from error
        # TensorRT 10 counts 10.3.0 as 100300, TensorRT 8 counts 8.5.2 as 8502.
        number = major * (10_000 if major >= 10 else 1_000) + minor * 100 + patch
        bad = [name for name in self.ranges if '\n' in name or ': ' in name]
        if bad:
            raise ModelError(f'tensor "{bad[0]}": a calibration cache cannot hold this name')
        lines = [f'TRT-{number}-EntropyCalibration2']
        lines += [
            f'{name}: {struct.pack(">f", largest / LEVELS).hex()}'
            for name, largest in self.ranges.items()
        ]
        return ('\n'.join(lines) + '\n').encode()


def file_digest(path: Path) -> str:
    """Return a file's SHA-256, hex."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def read_ranges(path: Path) -> RangeTable:
    """Return a range table.

    Raises:
        ModelError: the file is missing, not a range table, or a range is not a positive number.
    """
    content = read_json(path, ModelError, what='a range table')
    where = f'{one_line(path)}: expected a range table as "quantize" writes it'

    def entry(name: str, kind: type) -> Any:
        return member(content, name, kind, where, ModelError)

    written = entry('format', str), entry('version', int)
    if written != (FORMAT, VERSION):
        raise ModelError(f'{where}: expected {FORMAT} {VERSION}, got {shown(written)}')
    ranges = {}
    for name in entry('ranges', dict):
        place = f'{where}: ranges'
        ranges[name] = value = float(member(content['ranges'], name, float, place, ModelError))
        if not value > 0:
            raise ModelError(f'{place}: {shown(name)}: expected a number above 0, got {value}')
    keep_fp16 = entry('keep_fp16', list)
    for name in keep_fp16:
        of_kind(name, str, f'{where}: keep_fp16', ModelError)
    return RangeTable(
        entry('model', str),
        entry('model_sha256', str),
        entry('method', str),
        entry('pictures', int),
        tuple(keep_fp16),
        ranges,
    )
