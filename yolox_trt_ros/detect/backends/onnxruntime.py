"""ONNX Runtime: the backend of lanes on the CPU, and the detectors of its lanes."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np

from yolox_trt_ros.core.backends import BACKENDS, LaneSetup, no_masks
from yolox_trt_ros.core.config import LaneConfig
from yolox_trt_ros.core.detector import LaneDetector
from yolox_trt_ros.core.errors import ConfigError, MissingDependencyError, ModelError
from yolox_trt_ros.core.model import ModelSpec, Thresholds
from yolox_trt_ros.detect.cpu.detector import CpuDetector

_log = logging.getLogger(__name__)


def lane_detector(lane: LaneConfig, setup: LaneSetup) -> LaneDetector:
    """Return the detector of a lane on the CPU or a GPU."""
    spec = setup.spec
    if lane.device != 'cpu':
        from yolox_trt_ros.detect.backends.onnxruntime_lane import cuda_lane_detector

        return cuda_lane_detector(lane, setup)
    batch = max(lane.max_batch, spec.input.batch)
    if batch > lane.max_batch:
        _log.warning(
            'lane %s: %s always runs %d images, of which %d are empty: set lanes.%s.max_batch to '
            '%d, or export it with a free batch size',
            lane.name, setup.path.name, batch, batch - lane.max_batch, lane.name, batch,
        )  # fmt: skip
    return cpu_detector(setup.path, spec, setup.thresholds, batch, lane.threads, setup.masks)


def cpu_detector(
    path: Path,
    spec: ModelSpec,
    thresholds: Callable[[], Thresholds],
    max_batch: int = 1,
    threads: int = 1,
    masks: Callable[[str], bool] = no_masks,
) -> CpuDetector:
    """Return the detector that runs an ONNX file on the CPU; see :class:`OnnxRuntimeCpuBackend`."""
    backend = OnnxRuntimeCpuBackend(path, spec, max_batch, threads)
    about = f'{path.name} as its file says, on {threads} threads'
    return CpuDetector(spec, backend, thresholds, threads, about, masks)


class OnnxRuntimeCpuBackend:
    """Runs a model on CPU threads of its own; see :class:`detect.backends.protocol.Backend`.

    Args:
        path: the ONNX file.
        spec: what :func:`detect.model.load_model_spec` read from it.
        max_batch: most images of one call. A model of a fixed batch size runs several times for
            more: on a CPU, images that are computed together take no less time.
        threads: CPU threads of one inference.

    Raises:
        ConfigError: it has to run several times, and what it finds in its images is in one list.
        MissingDependencyError: the ``onnxruntime`` package is not installed.
        ModelError: ONNX Runtime cannot load or run the model.
    """

    def __init__(self, path: Path, spec: ModelSpec, max_batch: int, threads: int) -> None:
        shapes = spec.head.batched(spec.input, max_batch)
        apart = all(shape[0] == max_batch and -1 not in shape for shape in shapes)
        if 0 < spec.input.batch < max_batch and not apart:
            raise ConfigError(
                f'max_batch: {path.name} takes batches of {spec.input.batch} only, got {max_batch}'
            )
        try:
            import onnxruntime as ort
        except ImportError as error:
            install = BACKENDS['onnxruntime'].install['cpu']
            raise MissingDependencyError(f'a cpu lane needs ONNX Runtime: {install}') from error
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        # Spinning threads would take the cores from the other lanes and from the ingest thread.
        options.add_session_config_entry('session.intra_op.allow_spinning', '0')
        options.log_severity_level = 3
        try:
            self._session = ort.InferenceSession(
                str(path), options, providers=['CPUExecutionProvider']
            )
        except Exception as error:
            raise ModelError(f'{path}: ONNX Runtime cannot load it: {error}') from error
        self._names = list(spec.head.outputs), spec.input.name
        self._masks = spec.segmentation.output if spec.segmentation else ''
        self._options = ort.RunOptions()
        self._options.only_execute_path_to_fetches = bool(self._masks)
        self._fixed = spec.input.batch
        step = self._fixed or 1
        self.sizes = list(range(step, max_batch + step, step))
        runs = [self._fixed] if self._fixed else self.sizes
        self._further = {size: spec.input.constants(size) for size in runs}
        size = spec.input.height, spec.input.width
        self.input = np.zeros((self.sizes[-1], 3, *size), spec.input.dtype)
        self.outputs: list[np.ndarray] = []
        self.segmentation: np.ndarray | None = None

    def infer(self, images: int, masks: bool = False) -> None:
        """Run the network for the first images of the input; its masks only if they are wanted."""
        outputs, name = self._names
        wanted = [*outputs, self._masks] if masks and self._masks else outputs
        step = self._fixed or images
        further = self._further[step]
        found, *more = [
            self._session.run(wanted, {name: self.input[at : at + step], **further}, self._options)
            for at in range(0, images, step)
        ]
        if more:
            found = [np.concatenate(parts) for parts in zip(found, *more, strict=True)]
        self.outputs = found[: len(outputs)]
        self.segmentation = found[-1] if wanted is not outputs else None

    def close(self) -> None:
        """Free nothing: Python's reference counting owns all there is."""
