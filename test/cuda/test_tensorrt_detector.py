"""The whole detector of TensorRT lanes: real kernels, and a stand-in for TensorRT's runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from host_device import HostDevice, HostStream
from host_tensorrt import engine_of, host_tensorrt
from matching import differences
from sized_graphs import ranked_detr
from test_cuda_detector import found, frame_of, pictures
from tiny_models import write_yolox

from yolox_trt_ros.core.model import Thresholds
from yolox_trt_ros.detect.backends.onnxruntime import cpu_detector
from yolox_trt_ros.detect.backends.tensorrt import Engine, TensorRtBackend
from yolox_trt_ros.detect.cuda.detector import CudaDetector
from yolox_trt_ros.detect.model import load_model_spec

PLAIN = ('FLOAT', 'LINEAR')
HALF = ('HALF', 'LINEAR')
# Input, outputs, and how far a score may be off: INT8 halves the steps of a pixel.
FORMS = {
    'float32': (PLAIN, PLAIN, 0.01),
    'float16': (HALF, HALF, 0.01),
    'DLA float16': (('HALF', 'CHW16'), HALF, 0.01),
    'DLA float16, its own outputs': (('HALF', 'CHW16'), ('HALF', 'CHW16'), 0.01),
    'DLA int8': (('INT8', 'CHW32'), HALF, 0.08),
}


class Stream(HostStream):
    ptr = 1


@pytest.mark.parametrize(('image', 'maps', 'score'), FORMS.values(), ids=FORMS)
def test_same_detections_as_the_cpu(
    image: tuple[str, str], maps: tuple[str, str], score: float, library: Path, tmp_path: Path
) -> None:
    path = write_yolox(tmp_path / 'tiny.onnx', layout='per_level', scores='logit')
    spec = load_model_spec(path)
    kinds = {spec.input.name: image, **dict.fromkeys(spec.head.outputs, maps)}
    quanta = {spec.input.name: 2.0} if image[0] == 'INT8' else {}
    content = engine_of(path, batch=2, kinds=kinds, quanta=quanta)
    engine = Engine(host_tensorrt(), None, content, 'tiny.engine', quanta)
    device, stream = HostDevice(library), Stream()
    host: Any = device
    backend = TensorRtBackend(engine, spec, host, stream, 2, 0, np)
    detector = CudaDetector(spec, host, stream, backend, Thresholds, 2, 2)
    frames = [frame_of(p, i) for i, p in enumerate(pictures(2))]
    expected = cpu_detector(path, spec, Thresholds, max_batch=2).submit(frames).wait()
    got = detector.submit(frames).wait()
    for a, b in zip(got, expected, strict=True):
        # With steps of two grey levels a few boxes that overlap change places.
        allowed = len(found(b)) // 10 if quanta else 0
        assert len(differences(found(a), found(b), 0.9 if quanta else 0.97, score)) <= allowed
    detector.close()


@pytest.mark.parametrize('integers', ['INT64', 'INT32'])  # TensorRT 8 makes int32 of int64
@pytest.mark.parametrize('batch', [2, -1], ids=['fixed', 'free'])
def test_a_model_with_an_input_for_the_size(
    integers: str, batch: int, library: Path, tmp_path: Path
) -> None:
    path = ranked_detr(tmp_path / 'm.onnx')
    path.with_suffix('.yaml').write_text('head: rt_detr\n')
    spec = load_model_spec(path)
    kinds = dict.fromkeys(('orig_target_sizes', 'labels'), (integers, 'LINEAR'))
    engine = Engine(
        host_tensorrt(), None, engine_of(path, batch=batch, most=2, kinds=kinds), 'm.engine', {}
    )
    host: Any = HostDevice(library)
    backend = TensorRtBackend(engine, spec, host, Stream(), 2, 0, np)
    detector = CudaDetector(spec, host, Stream(), backend, Thresholds, 2, 2)
    frames = [frame_of(p, i) for i, p in enumerate(pictures(2))]
    cpu = cpu_detector(path, spec, Thresholds, max_batch=2)
    for some in (frames, frames[:1]):
        expected, got = cpu.submit(some).wait(), detector.submit(some).wait()
        for a, b in zip(got, expected, strict=True):
            assert found(b) and not differences(found(a), found(b), 0.97, 0.01)
    detector.close()
