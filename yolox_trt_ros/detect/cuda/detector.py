"""The detector of cuda lanes."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from yolox_trt_ros.core.detector import Detected, FrameResult
from yolox_trt_ros.core.errors import FrameError, LaneError
from yolox_trt_ros.core.frame import Frame
from yolox_trt_ros.core.model import ModelSpec, Thresholds
from yolox_trt_ros.detect.cuda.jpeg import GpuJpeg
from yolox_trt_ros.detect.cuda.postprocess import CudaPostprocessor
from yolox_trt_ros.detect.cuda.preprocess import CudaPreprocessor, InputFormat
from yolox_trt_ros.detect.cuda.runtime import MAKING, Device
from yolox_trt_ros.detect.cuda.staging import Source, Staging

COPY_THREADS = 4


class Backend(Protocol):
    """What runs the network: input and outputs stay where they are, calls only enqueue.

    Attributes:
        form: how it wants its input.
        input: device array with room for the largest batch.
        outputs: device arrays, likewise, in the spec's order.
        output_dtype: float32 or float16.
    """

    form: InputFormat
    input: Any
    outputs: list[Any]
    output_dtype: Any

    def infer(self, images: int) -> None:
        """Enqueue the network for the first images of the input, on the stream it was made for."""
        ...

    def close(self) -> None:
        """Free the engine and its memory; calling it twice is allowed."""
        ...


class CudaDetector:
    """Copies, fused kernels and inference on one GPU; consecutive batches overlap.

    Two streams: one copies images to the device, one computes. ``submit`` returns when everything
    is enqueued, so with two batches in flight the images of one travel while the other is computed.
    Nothing is allocated once every batch size and the largest image have been seen.

    Args:
        spec: the model.
        device: where everything runs.
        stream: where everything but copies is enqueued; ``backend`` was made for it.
        backend: runs the network.
        thresholds: asked for at every batch, so that they may change at run time.
        max_batch: most frames of one call.
        in_flight: most batches that are submitted and not waited for.
        jpeg: decodes JPEG images on the device; ``None``: OpenCV does on a few threads.

    Raises:
        ConfigError: see :class:`CudaPreprocessor` and :class:`CudaPostprocessor`.
    """

    def __init__(
        self,
        spec: ModelSpec,
        device: Device,
        stream: Any,
        backend: Backend,
        thresholds: Callable[[], Thresholds],
        max_batch: int = 1,
        in_flight: int = 1,
        jpeg: GpuJpeg | None = None,
    ) -> None:
        self.max_batch = max_batch
        self._device, self._stream, self._backend = device, stream, backend
        self._copies = device.stream()
        self._pool = ThreadPoolExecutor(COPY_THREADS, 'images')
        self._thresholds = thresholds
        self._next = 0
        self._decoded_ns = 0
        with MAKING, stream:
            self._preprocessor = CudaPreprocessor(spec, device, backend.form)
            outputs = [device.address(output) for output in backend.outputs]
            self._postprocessor = CudaPostprocessor(
                spec, device, outputs, backend.output_dtype, max_batch
            )
            self._slots = [self._new_slot(jpeg) for _ in range(in_flight)]
            for slot in self._slots:  # a kernel's first launch loads it
                self._enqueue([None] * max_batch, slot)
            stream.synchronize()

    def submit(self, frames: Sequence[Frame]) -> CudaTicket:
        """Enqueue 1 to ``max_batch`` frames.

        Raises:
            LaneError: more batches are in flight than the detector was made for.
        """
        slot = self._slots[self._next]
        if slot.ticket is not None:
            raise LaneError(
                f'expected at most {len(self._slots)} batches in flight, got one more: '
                'wait for a ticket first'
            )
        self._next = (self._next + 1) % len(self._slots)
        with self._stream:
            with self._device.mark('upload'):
                slot.begun.record()
                slot.uploading.record(self._copies)
                submitted_ns = time.monotonic_ns()
                sources = slot.staging.upload(frames)
                slot.uploaded.record(self._copies)
                self._stream.wait_event(slot.uploaded)
            self._enqueue([None if isinstance(s, FrameError) else s for s in sources], slot)
        slot.ticket = CudaTicket(self, slot, sources, submitted_ns)
        return slot.ticket

    def close(self) -> None:
        """Wait for the device and free what this detector holds; twice is allowed."""
        self._pool.shutdown(wait=False)
        try:
            self._copies.synchronize()
            self._stream.synchronize()
        finally:
            self._backend.close()
            self._slots.clear()

    def collect(
        self, slot: Slot, sources: Sequence[Source | FrameError], submitted_ns: int
    ) -> list[FrameResult]:
        """Return the results of a batch; for its ticket."""
        running = not slot.decoded.done
        slot.decoded.synchronize()
        now_ns = time.monotonic_ns()
        slot.ticket = None
        elapsed_ns = self._device.elapsed_ns
        if running:
            decoded_ns = now_ns
        else:  # it ended unobserved; the stream began it when it had finished the one before
            began_ns = max(submitted_ns, self._decoded_ns)
            decoded_ns = min(now_ns, began_ns + elapsed_ns(slot.begun, slot.decoded))
        self._decoded_ns = decoded_ns
        preprocessed_ns = decoded_ns - elapsed_ns(slot.preprocessed, slot.decoded)
        inferred_ns = decoded_ns - elapsed_ns(slot.inferred, slot.decoded)
        return [
            source
            if isinstance(source, FrameError)
            else Detected(
                self._postprocessor.detections(slot.result, place),
                preprocessed_ns,
                inferred_ns,
                decoded_ns,
            )
            for place, source in enumerate(sources)
        ]

    def _enqueue(self, sources: Sequence[Source | None], slot: Slot) -> None:
        """Enqueue everything behind the copies; ``None`` is a place without an image."""
        mark = self._device.mark
        with mark('preprocess'):
            target = self._device.address(self._backend.input)
            boxes = self._preprocessor.enqueue(sources, target)
            slot.preprocessed.record()
        with mark('infer'):
            self._backend.infer(len(sources))
            slot.inferred.record()
        with mark('decode'):
            self._postprocessor.enqueue(boxes, self._thresholds(), slot.result)
            slot.decoded.record()

    def _new_slot(self, jpeg: GpuJpeg | None) -> Slot:
        staging = Staging(self._device, self._copies, self._pool, jpeg)
        events = [self._device.event() for _ in range(6)]
        return Slot(staging, self._postprocessor.new_result(), *events)


@dataclass(slots=True, eq=False)
class Slot:
    """What one batch in flight occupies, with the events of its stages.

    Attributes:
        begun: the computing stream has finished the batch before.
        uploading, uploaded: on the copying stream, around this batch's copies.
        preprocessed, inferred, decoded: on the computing stream, after each stage.
    """

    staging: Staging
    result: np.ndarray
    begun: Any
    uploading: Any
    uploaded: Any
    preprocessed: Any
    inferred: Any
    decoded: Any
    ticket: CudaTicket | None = None


class CudaTicket:
    """A batch on the device.

    Attributes:
        slot: its events, until the detector's ``in_flight``-th batch after it is submitted.
    """

    def __init__(
        self,
        detector: CudaDetector,
        slot: Slot,
        sources: Sequence[Source | FrameError],
        submitted_ns: int,
    ) -> None:
        self._detector, self.slot = detector, slot
        self._sources, self._submitted_ns = sources, submitted_ns
        self._results: list[FrameResult] | None = None

    def wait(self) -> list[FrameResult]:
        """Sleep until the batch is decoded; see :class:`core.detector.Ticket`."""
        if self._results is None:
            self._results = self._detector.collect(self.slot, self._sources, self._submitted_ns)
        return self._results
