"""The Python interface: images in memory in, detections out, without ROS.

Importing this loads neither NumPy nor anything heavier; making a :class:`Detector` does.
"""

from __future__ import annotations

import logging
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, overload

from yolox_trt_ros.core.errors import ConfigError, FrameError, YoloxTrtRosError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import TypeAlias

    import numpy as np

    from yolox_trt_ros.compose import Model
    from yolox_trt_ros.core.config import EnginesConfig, LaneConfig, ModelConfig
    from yolox_trt_ros.core.crop import Crop
    from yolox_trt_ros.core.detections import Detections
    from yolox_trt_ros.core.detector import FrameResult, LaneDetector
    from yolox_trt_ros.core.frame import Frame
    from yolox_trt_ros.engine.lanes import LaneEngine

    Image: TypeAlias = np.ndarray | bytes | bytearray | memoryview | Frame

_log = logging.getLogger(__name__)


class Detector:
    """A YOLOX model on one device; finds what the node finds there, bit for bit.

    >>> with Detector('edge_s', device='cuda:0', score_threshold=0.4) as detect:
    ...     for found in detect(image):
    ...         print(found.label, found.score, found.box)

    Any number of threads may call it; their images are detected one call after the other, on one
    thread that belongs to the detector.

    Args:
        model: an ONNX file or the name of a packaged model; empty: edge_n.
        device: ``cpu``, ``cuda:N`` or ``dla:N``.
        backend: what runs the network: ``onnxruntime`` or ``tensorrt``. TensorRT builds a missing
            engine, which takes minutes, and keeps it.
        precision: in which a GPU or DLA computes: ``auto``, ``fp32``, ``tf32``, ``fp16`` or
            ``int8``; ``auto`` is ``int8`` for a model with Q/DQ nodes, else ``fp16``. A CPU
            computes as the model's file says.
        ranges: of an INT8 engine without Q/DQ nodes: range table or calibration cache.
        max_batch: most images in one run of the network. A model of a fixed batch size is always
            run whole.
        threads: CPU threads; 0: one for each core. OpenCV's, which the process shares, as well.
        labels: text file, one class name a line; empty: beside the model.
        class_map: CSV or YAML file that gives classes other names, several the same one.
        classes: names or numbers of those to detect, as they are called then; empty: all.
        class_thresholds: score thresholds of single classes: ``{'person': 0.2}``.
        score_threshold, nms_iou, class_agnostic, max_detections, clip_boxes, antialias,
            segmentation: the node's ``model`` parameters of these names. Every result of a model
            that gives class masks has its own, unless ``segmentation`` is false.
        crops: parts that are seen in every image besides the whole, such as ``['960x608']`` for its
            centre or ``['960x608+480+300']``; their boxes are merged into the image's. A batch
            has a place for each.
        progress: called while an engine is built, with the part that is done, 0 to 1.

    Attributes:
        model: the file, what is known of it, and the thresholds.

    Raises:
        ConfigError: a value is out of range, or model, device and backend do not go together.
        ModelError: the file is missing, or no YOLOX that this package can run.
        EngineError: TensorRT does not build the engine.
        MissingDependencyError: a package or the device is missing.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] = '',
        *,
        device: str = 'cpu',
        backend: str = 'onnxruntime',
        precision: str = 'auto',
        ranges: str | os.PathLike[str] = '',
        max_batch: int = 1,
        threads: int = 0,
        labels: str | os.PathLike[str] = '',
        class_map: str | os.PathLike[str] = '',
        classes: Sequence[str | int] = (),
        class_thresholds: Mapping[str, float] | Sequence[str] = (),
        score_threshold: float = 0.3,
        nms_iou: float = 0.45,
        class_agnostic: bool = False,
        max_detections: int = 300,
        clip_boxes: bool = False,
        antialias: bool = False,
        segmentation: bool = True,
        crops: Sequence[str] = (),
        progress: Callable[[float], None] | None = None,
    ) -> None:
        from yolox_trt_ros.core.config import ModelConfig
        from yolox_trt_ros.core.parameters import build

        self._crops = _parts(crops)
        lane = lane_of(
            device=device, backend=backend, precision=precision, max_batch=max_batch,
            threads=threads,
        )  # fmt: skip
        about = {
            'path': os.fspath(model),
            'labels': os.fspath(labels),
            'class_map': os.fspath(class_map),
            'classes': _names(classes),
            'class_thresholds': _scores(class_thresholds),
            'antialias': antialias,
            'segmentation': segmentation,
            'score_threshold': score_threshold,
            'nms_iou': nms_iou,
            'class_agnostic': class_agnostic,
            'max_detections': max_detections,
            'clip_boxes': clip_boxes,
        }
        self._start(build(ModelConfig, about), lane, os.fspath(ranges), progress)

    @classmethod
    def of(cls, model: ModelConfig, lane: LaneConfig, ranges: str = '') -> Detector:
        """Return the detector of a model and a lane that are configured; see :class:`Detector`.

        Args:
            model: with its thresholds.
            lane: as :func:`lane_of` gives it.
            ranges: of an INT8 engine.
        """
        made = cls.__new__(cls)
        made._crops = _parts(())
        made._start(model, lane, ranges, None)
        return made

    def _start(self, model: ModelConfig, lane: LaneConfig, ranges: str, progress: Any) -> None:
        from dataclasses import replace

        from yolox_trt_ros import compose
        from yolox_trt_ros.core.config import EnginesConfig

        self.model = replace(compose.load_model(model), masks=_always)
        places = max(lane.max_batch, self.model.spec.input.batch, 1 + len(self._crops))
        threads = lane.threads or compose.available_cores()
        lane = replace(lane, max_batch=places, threads=threads)
        engines = EnginesConfig(ranges=ranges)
        engine = _engine(lane, self.model, engines, progress)
        # A GPU is current only for the thread on which its detector is made.
        self._thread = ThreadPoolExecutor(1, 'detector')
        pending = self._thread.submit(compose.make_detector, lane, self.model, engine, _log.info)
        self._lane: LaneDetector = pending.result()
        self._lock, self._open = threading.Lock(), True

    @overload
    def __call__(self, image: Image, encoding: str = ...) -> Detections: ...

    @overload
    def __call__(self, image: Sequence[Image], encoding: str = ...) -> list[Detections]: ...

    def __call__(
        self, image: Image | Sequence[Image], encoding: str = 'bgr8'
    ) -> Detections | list[Detections]:
        """Return what is in an image, or in each image of a list or tuple.

        Args:
            image: uint8 (height, width, 3) BGR, or as ``encoding`` says; a :class:`Frame` knows
                its own. The images of a list may differ in size.
            encoding: one of ``sensor_msgs/image_encodings`` or their other names, whose shapes
                :meth:`Frame.of` gives; or ``jpeg``, ``png``, ``webp`` for the bytes of a file,
                whose EXIF rotation is ignored.

        Raises:
            FrameError: an image has another type, shape or encoding than expected, or its file is
                damaged; of a list the message says which, and nothing of it is returned.
            LaneError: the device failed.
            YoloxTrtRosError: the detector is closed.
        """
        several = isinstance(image, (list, tuple))
        images: Sequence[Any] = image if isinstance(image, (list, tuple)) else [image]
        places = [f'image {i} of the list: ' if several else '' for i in range(len(images))]
        frames = [
            _frame(place, one, encoding, self._crops)
            for place, one in zip(places, images, strict=True)
        ]
        results = [
            _found(place, result)
            for place, result in zip(places, self._detect(frames), strict=True)
        ]
        return results if several else results[0]

    def each(self, frames: Sequence[Frame]) -> list[Detections | FrameError]:
        """Return what is in each frame, or why that one cannot be read; the others are detected.

        Args:
            frames: of any sizes and encodings; more than ``max_batch`` are several batches. Crops
                are those that the frames have.

        Raises:
            LaneError: the device failed.
            YoloxTrtRosError: the detector is closed.
        """
        return [
            result if isinstance(result, FrameError) else result.detections
            for result in self._detect(list(frames))
        ]

    @property
    def about(self) -> str:
        """Return which network runs, in which precision, and how."""
        return self._lane.about

    @property
    def labels(self) -> tuple[str, ...]:
        """Return the class names; ``class_id`` of a detection indexes them."""
        return self.model.labels

    def close(self) -> None:
        """Free the device when the calls so far are done; calling it twice is allowed."""
        with self._lock:
            if not self._open:
                return
            self._open = False
            freed = self._thread.submit(self._lane.close)
        self._thread.shutdown()
        freed.result()

    def __enter__(self) -> Detector:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _detect(self, frames: list[Frame]) -> list[FrameResult]:
        with self._lock:
            if not self._open:
                raise YoloxTrtRosError(
                    'expected an open Detector, got one that is closed: call it inside its "with" '
                    'block, or make a new one'
                )
            results = self._thread.submit(_in_batches, self._lane, frames)
        return results.result()


def _always(camera: str) -> bool:
    """Return that every image's mask is wanted."""
    del camera
    return True


def _frame(place: str, image: Image, encoding: str, crops: Sequence[Crop]) -> Frame:
    from dataclasses import replace

    from yolox_trt_ros.core.frame import Frame

    try:
        frame = image if isinstance(image, Frame) else Frame.of(image, encoding)
        if not crops:
            return frame
        return replace(frame, crops=tuple(c.of(frame.height, frame.width) for c in crops))
    except FrameError as error:
        raise FrameError(error.reason, f'{place}{error}') from error


def _found(place: str, result: FrameResult) -> Detections:
    if isinstance(result, FrameError):
        raise FrameError(result.reason, f'{place}{result}')
    return result.detections


def _names(classes: Sequence[str | int]) -> list[str]:
    if isinstance(classes, str) or not all(isinstance(one, (str, int)) for one in classes):
        raise ConfigError(f'classes: expected a list of names or numbers, got {classes!r:.80}')
    return list(map(str, classes))


def _scores(thresholds: Mapping[str, float] | Sequence[str]) -> list[str]:
    """Return scores of classes as the parameter has them."""
    if not hasattr(thresholds, 'items'):
        return list(thresholds)
    for name, score in thresholds.items():
        if not (isinstance(score, (int, float)) and 0 <= score <= 1):
            raise ConfigError(f'class_thresholds: "{name}": expected 0 to 1, got {score!r:.80}')
    return [f'{name}={score:.9f}' for name, score in thresholds.items()]


def _parts(crops: Sequence[str]) -> list[Crop]:
    from yolox_trt_ros.core.crop import Crop

    if isinstance(crops, str):
        raise ConfigError(f'crops: expected a list of parts of the image, got {crops!r:.80}')
    return [Crop.read(text) for text in crops]


def _in_batches(lane: LaneDetector, frames: list[Frame]) -> list[FrameResult]:
    results: list[FrameResult] = []
    batch: list[Frame] = []
    left = lane.max_batch
    for frame in frames:
        if frame.places > left:
            results += lane.submit(batch).wait()
            batch, left = [], lane.max_batch
        batch.append(frame)
        left -= frame.places
    return results + lane.submit(batch).wait() if batch else results


def _engine(
    lane: LaneConfig,
    model: Model,
    engines: EnginesConfig,
    progress: Callable[[float], None] | None,
) -> LaneEngine | None:
    """Return the engine that a lane runs; None: its backend needs none."""
    from yolox_trt_ros import compose
    from yolox_trt_ros.core.backends import BACKENDS

    if not BACKENDS[lane.backend].builds:
        if engines.ranges:
            raise ConfigError(f'ranges: backend {lane.backend} takes none: leave them out')
        return None
    report = progress or (lambda fraction: None)
    return compose.engine_of_lane(
        lane, model, engines, lambda fraction, _: report(fraction), _log.info
    )


def lane_of(**values: Any) -> LaneConfig:
    """Return a checked configuration of a lane called "detector".

    Raises:
        ConfigError: values are out of range, or do not go together.
    """
    from dataclasses import replace

    from yolox_trt_ros.core.backends import BACKENDS, with_backend
    from yolox_trt_ros.core.config import LaneConfig, lane_problems
    from yolox_trt_ros.core.parameters import build

    lane: LaneConfig = with_backend(replace(build(LaneConfig, values), name='detector'))
    if BACKENDS[lane.backend].simulated:
        raise ConfigError(f'backend: expected one that runs a network, got "{lane.backend}"')
    if problems := lane_problems(lane):
        raise ConfigError('\n'.join(p.replace(f'lanes.{lane.name}.', '') for p in problems))
    return lane
