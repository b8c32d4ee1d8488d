"""The peer program finds what the package finds: otherwise the comparison says nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matching import differences
from tiny_models import write_yolox

pytest.importorskip('cv2')
from benchmarks.support.plain_tensorrt import PlainProgram
from yolox_trt_ros.core.frame import Frame
from yolox_trt_ros.core.model import Thresholds
from yolox_trt_ros.detect.backends.onnxruntime import cpu_detector
from yolox_trt_ros.detect.model import load_model_spec
from yolox_trt_ros.engine.onnx_file import read_onnx
from yolox_trt_ros.engine.onnx_run import OnnxRun
from yolox_trt_ros.tools.detect import as_rows


def test_same_detections_as_the_package(tmp_path: Path) -> None:
    path = write_yolox(tmp_path / 'm.onnx', batch=1)
    spec = load_model_spec(path)
    thresholds = Thresholds(score=0.2)
    run = OnnxRun(read_onnx(path))
    program = PlainProgram(
        lambda image: next(iter(run(image).values())),
        spec.input, spec.head.strides, thresholds.score, thresholds.nms_iou,
    )  # fmt: skip
    pixels = np.random.default_rng(5).integers(0, 256, (128, 192, 3)).astype(np.uint8)
    found = program.detect(pixels)
    frame = Frame.of(pixels)
    (expected,) = cpu_detector(path, spec, lambda: thresholds).submit([frame]).wait()
    wanted = as_rows(expected.detections)
    assert len(wanted) > 3
    rows = [[*row[:4].tolist(), float(row[4]), int(row[5])] for row in found]
    assert not differences(rows, wanted, 0.95, 0.02)
