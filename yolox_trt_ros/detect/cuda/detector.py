"""The detector of cuda lanes."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from yolox_trt_ros.core.backends import no_masks
from yolox_trt_ros.core.detections import Detections
from yolox_trt_ros.core.detector import Detected, FrameResult
from yolox_trt_ros.core.errors import LaneError
from yolox_trt_ros.core.frame import Frame
from yolox_trt_ros.core.model import ModelSpec, Thresholds
from yolox_trt_ros.detect.backends.protocol import GpuBackend
from yolox_trt_ros.detect.cuda.batch import BatchTable, Source
from yolox_trt_ros.detect.cuda.jpeg import GpuJpeg
from yolox_trt_ros.detect.cuda.postprocess import CudaPostprocessor
from yolox_trt_ros.detect.cuda.preprocess import CudaPreprocessor
from yolox_trt_ros.detect.cuda.runtime import SETUP_LOCK, Device
from yolox_trt_ros.detect.cuda.segment import BatchMasks, CudaSegmenter
from yolox_trt_ros.detect.cuda.step import Step
from yolox_trt_ros.detect.cuda.upload_buffer import Errors, UploadBuffer
from yolox_trt_ros.detect.merged_parts import merged_images

COPY_THREADS = 4
Merge = Callable[[list[Detections]], list[Detections]]
"""Makes the detections of each image of those of each place."""
_NO_PIXELS = np.empty(0, np.uint8)


class CudaDetector:
    """Copies, fused kernels and inference on one GPU; consecutive batches overlap.

    Two streams: one copies images to the device, one computes. ``submit`` returns when everything
    is enqueued, so with two batches in flight the images of one travel while the other is computed.
    All that is computed, from pixels to detections in host memory, is one CUDA graph where the
    backend's network can be part of one. The copies are not: they come from wherever the images
    are, and run beside the batch before. Nothing is allocated once the largest image has been seen.

    Args:
        spec: the model.
        device: where everything runs.
        stream: where everything but copies is enqueued; ``backend`` was made for it.
        backend: runs the network.
        thresholds: asked for at every batch, so that they may change at run time.
        max_batch: most frames of one call.
        in_flight: most batches that are submitted and not waited for.
        jpeg: decodes JPEG images on the device; ``None``: OpenCV does on a few threads.
        about: which network runs, for people.
        masks: whether somebody wants the class masks of a camera; asked for every image.

    Attributes:
        copies: the stream of the copies.
        recorded: whether each batch is one launch of a CUDA graph.
        about: which network runs, and how it is launched.

    Raises:
        ConfigError: see :class:`CudaPreprocessor` and :class:`CudaPostprocessor`.
    """

    def __init__(
        self,
        spec: ModelSpec,
        device: Device,
        stream: Any,
        backend: GpuBackend,
        thresholds: Callable[[], Thresholds],
        max_batch: int = 1,
        in_flight: int = 1,
        jpeg: GpuJpeg | None = None,
        about: str = '',
        masks: Callable[[str], bool] = no_masks,
    ) -> None:
        self.max_batch = max_batch
        self.copies = device.stream()
        self._device, self._stream, self._backend = device, stream, backend
        self._pool = ThreadPoolExecutor(COPY_THREADS, 'images')
        self._thresholds, self._masks = thresholds, masks
        self._uploading, self._launching, self._collecting = map(
            device.mark, ('upload', 'launch', 'collect')
        )
        self._next = 0
        self._open = True
        self._decoded_ns = 0
        with SETUP_LOCK, stream:
            self._preprocessor = CudaPreprocessor(spec.input, device, backend.form)
            outputs = [device.address(output) for output in backend.outputs]
            self._postprocessor = CudaPostprocessor(
                spec, device, outputs, backend.output_dtype, max_batch
            )
            self._segmenter = CudaSegmenter.of(spec, device, backend.segmentation, max_batch)
            (self._stamp,) = device.kernels('stamp.cu', ['stamp'], ())
            self._slots = [self._new_slot(jpeg) for _ in range(in_flight)]
        reason = next((slot.step.reason for slot in self._slots if slot.step.reason), '')
        self.recorded = not reason
        launched = f'kernels launched one by one ({reason})' if reason else 'a CUDA graph a batch'
        self.about = f'{about}, {launched}'

    def submit(self, frames: Sequence[Frame]) -> CudaTicket:
        """Enqueue frames that take 1 to ``max_batch`` places.

        Raises:
            LaneError: there are none or more, more batches are in flight than the detector was made
                for, or it is closed.
        """
        crops = [frame.crops for frame in frames]
        places = len(frames) + sum(map(len, crops)) if any(crops) else len(frames)
        slot = self._slot_for(places)
        with self._stream:
            slot.begun.record(self._stream)
            submitted_ns = time.monotonic_ns()
            with self._uploading:
                sources, errors = self._upload(frames, places, slot)
            with self._launching:
                slot.step.launch(places)
                if self._segmenter and slot.masks:
                    wanted = []
                    for frame in frames:  # a mask is that of the whole image
                        wanted += [self._masks(frame.camera), *[False] * len(frame.crops)]
                    self._segmenter.enqueue(sources, wanted, slot.masks, self._stream)
            slot.decoded.record(self._stream)
        self._next = (self._next + 1) % len(self._slots)
        slot.busy = True
        merge = None
        if places > len(frames):
            bare = [replace(frame, data=_NO_PIXELS) for frame in frames]  # a ticket keeps no images
            merge = partial(merged_images, frames=bare, thresholds=self._thresholds())
        return CudaTicket(self, slot, places, errors, submitted_ns, merge)

    def close(self) -> None:
        """Wait for the device and give all memory back; twice is allowed.

        What a ticket that is not waited for yet needs stays until then.
        """
        if not self._open:
            return
        self._open = False
        self._pool.shutdown(wait=False)
        try:
            self.copies.synchronize()
            self._stream.synchronize()
        finally:
            with SETUP_LOCK:
                self._slots.clear()
                self._preprocessor.close()
                self._postprocessor.close()
                if self._segmenter:
                    self._segmenter.close()
                self._backend.close()
                self._device.give_back()

    def sleep(self, slot: Slot) -> None:
        """Block until the slot's batch is decoded, for its ticket, whatever thread asks."""
        self._device.use()
        slot.decoded.synchronize()

    def collect(
        self, slot: Slot, images: int, errors: Errors, submitted_ns: int, merge: Merge | None
    ) -> list[FrameResult]:
        """Return the results of a batch; for its ticket."""
        if running := not slot.decoded.done:
            slot.decoded.synchronize()
        decoded_ns = time.monotonic_ns()
        with self._collecting:
            slot.busy = False
            slot.upload_buffer.release()
            if not running:
                # It ended unobserved; the stream began it when it was done with the one before.
                began_ns = max(submitted_ns, self._decoded_ns)
                elapsed_ns = self._device.elapsed_ns(slot.begun, slot.decoded)
                decoded_ns = min(decoded_ns, began_ns + elapsed_ns)
            self._decoded_ns = decoded_ns
            begun, preprocessed, inferred, decoded = slot.times.tolist()
            ago = decoded_ns - decoded
            times = begun + ago, preprocessed + ago, inferred + ago, decoded_ns
            found = self._postprocessor.detections(slot.result, slot.batch, images)
            if self._segmenter and slot.masks:
                found = self._segmenter.add(found, slot.masks)
            if merge is not None:
                found = merge(found)
            spent = slot.upload_buffer.spent
            results: list[FrameResult] = [
                Detected(detections, *times, spent.get(place, 0))
                for place, detections in enumerate(found)
            ]
            for place, error in errors.items():
                error.prepare_ns = spent.get(place, 0)
                results[place] = error
            return results

    def _slot_for(self, images: int) -> Slot:
        if not (self._open and 0 < images <= self.max_batch):
            state = f'got {images}' if self._open else 'but the detector is closed'
            raise LaneError(f'expected 1 to {self.max_batch} places, {state}')
        slot = self._slots[self._next]
        if slot.busy:
            raise LaneError(
                f'expected at most {len(self._slots)} batches in flight, got one more: '
                'wait for a ticket first'
            )
        return slot

    def _upload(
        self, frames: Sequence[Frame], places: int, slot: Slot
    ) -> tuple[Sequence[Source | None], Errors]:
        sources, errors = slot.upload_buffer.upload(frames)
        cameras = [frame.camera for frame in frames]
        if places > len(frames):
            sources = _with_crops(sources, frames)
            cameras = [frame.camera for frame in frames for _ in range(frame.places)]
        self._preprocessor.describe(sources, slot.batch)
        self._postprocessor.describe(self._thresholds(), cameras, slot.batch)
        slot.batch.upload(self.copies)
        slot.uploaded.record(self.copies)
        self._stream.wait_event(slot.uploaded)
        return sources, errors

    def _new_slot(self, jpeg: GpuJpeg | None) -> Slot:
        device, backend = self._device, self._backend
        batch, result = BatchTable(device), self._postprocessor.new_result()
        times = device.pinned(4, np.uint64)
        work = partial(self._enqueue, batch.address, device.address(result), device.address(times))
        step = Step(self._stream, backend.sizes, work, backend.recordable)
        upload_buffer = UploadBuffer(device, self.copies, self._pool, self.max_batch, jpeg)
        masks = self._segmenter.new_masks() if self._segmenter else None
        events = (device.event() for _ in range(3))
        return Slot(upload_buffer, batch, step, result, times, masks, *events)

    def _enqueue(self, batch: int, result: int, times: int, size: int) -> None:
        """Enqueue everything behind the copies.

        Args:
            batch, result, times: addresses of a slot's parts.
            size: one that the backend runs; the batch may have fewer images.
        """
        mark = self._device.mark
        images = min(size, self.max_batch)
        begun, preprocessed, inferred, decoded = ((np.uint64(times + 8 * i),) for i in range(4))
        with mark('preprocess'):
            self._stamp((1,), (1,), begun)
            self._preprocessor.enqueue(images, batch, self._device.address(self._backend.input))
            self._stamp((1,), (1,), preprocessed)
        with mark('infer'):
            self._backend.infer(size)
            self._stamp((1,), (1,), inferred)
        with mark('decode'):
            self._postprocessor.enqueue(images, batch, result)
            self._stamp((1,), (1,), decoded)


@dataclass(slots=True, eq=False)
class Slot:
    """What one batch in flight occupies.

    Attributes:
        upload_buffer: its images.
        batch: the record that the kernels read.
        step: what is computed.
        result: ``RESULT`` (max_batch,).
        times: uint64 (4,), the device's clock before preprocessing and after preprocessing,
            inference and decode.
        masks: class masks of the batch; None: the model gives none.
        begun: on the computing stream, which has finished the batch before.
        uploaded: on the copying stream, after this batch's copies.
        decoded: on the computing stream, after everything.
        busy: whether a batch occupies it. Its ticket refers to the slot and not the other way
            round, so that the memory of a batch that nobody waits for goes with the ticket.
    """

    upload_buffer: UploadBuffer
    batch: BatchTable
    step: Step
    result: np.ndarray
    times: np.ndarray
    masks: BatchMasks | None
    begun: Any
    uploaded: Any
    decoded: Any
    busy: bool = False


class CudaTicket:
    """A batch on the device.

    Attributes:
        slot: its events, until the detector's ``in_flight``-th batch after it is submitted.
    """

    def __init__(
        self,
        detector: CudaDetector,
        slot: Slot,
        images: int,
        errors: Errors,
        submitted_ns: int,
        merge: Merge | None,
    ) -> None:
        self._detector, self.slot = detector, slot
        self._batch = images, errors, submitted_ns, merge
        self._results: list[FrameResult] | None = None

    def sleep(self) -> None:
        """Block until the batch is decoded; on any thread."""
        self._detector.sleep(self.slot)

    def wait(self) -> list[FrameResult]:
        """Sleep until the batch is decoded; see :class:`core.detector.Ticket`."""
        if self._results is None:
            self._results = self._detector.collect(self.slot, *self._batch)
        return self._results


def _with_crops(sources: Sequence[Source | None], frames: Sequence[Frame]) -> list[Source | None]:
    """Return where each place of a batch reads its part; an image is there once."""
    places: list[Source | None] = []
    for source, frame in zip(sources, frames, strict=True):
        places.append(source)
        if source is None:
            places += [None] * len(frame.crops)
            continue
        pixels, address = source
        places += [(pixels._replace(part=part), address) for part in frame.crops]
    return places
