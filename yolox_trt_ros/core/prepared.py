"""A model in the form in which a GPU runs it best."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from yolox_trt_ros.core.detections import Detections
from yolox_trt_ros.core.model import ModelSpec


@dataclass(frozen=True, slots=True)
class PreparedModel:
    """What a GPU's lane runs in place of its model's file; see :mod:`prepared_models`.

    Attributes:
        path: its file.
        content: the bytes of an ONNX file, the very ones whose checksum was right.
        spec: how it is fed and read.
        precision: in which it is computed: ``fp32``, ``tf32``, ``fp16`` or ``int8``.
        expected: what the model itself finds in the pictures of :mod:`detect.check`, on a CPU;
            empty where it is run as its file says.
        about: what was done to it, for people.
    """

    path: Path
    content: bytes
    spec: ModelSpec
    precision: str
    expected: tuple[Detections, ...]
    about: str
