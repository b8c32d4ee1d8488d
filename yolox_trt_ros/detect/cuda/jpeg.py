"""Decode JPEG images on a CUDA device by nvJPEG, through NVIDIA's nvImageCodec."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial
from typing import Any

import cv2
import numpy as np

from yolox_trt_ros.core.errors import DropReason, FrameError, MissingDependencyError
from yolox_trt_ros.core.frame import Frame
from yolox_trt_ros.core.jpeg import with_tables
from yolox_trt_ros.detect.attempt import attempt
from yolox_trt_ros.detect.cpu.decode import whole_jpeg
from yolox_trt_ros.detect.cuda.batch import Pixels, Source
from yolox_trt_ros.detect.cuda.runtime import require_cupy

_log = logging.getLogger(__name__)

_INSTALL = 'pip install "yolox_trt_ros[jpeg]" (nvidia-nvimgcodec-cu13 and nvidia-nvjpeg)'
# Baseline images go to the GPU's own JPEG engines where it has some, others to kernels.
_OPTIONS = ':fancy_upsampling=1'  # as libjpeg and with it OpenCV do


class GpuJpeg:
    """Decodes JPEG images into device memory; one for all batches of a detector.

    Args:
        index: the N of ``cuda:N``.

    Attributes:
        name: of the library, for the log.

    Raises:
        MissingDependencyError: nvImageCodec or nvJPEG is not installed, or cannot use the device.
    """

    def __init__(self, index: int) -> None:
        try:
            from nvidia import nvimgcodec
        except ImportError as error:
            raise MissingDependencyError(f'nvImageCodec is not installed: {_INSTALL}') from error
        kinds = nvimgcodec.BackendKind
        backends = [
            nvimgcodec.Backend(kind)
            for kind in (kinds.HW_GPU_ONLY, kinds.GPU_ONLY, kinds.HYBRID_CPU_GPU)
        ]
        self.name = f'nvJPEG (nvImageCodec {nvimgcodec.__version__})'
        self._codec, self._cupy = nvimgcodec, require_cupy()
        self._done = self._cupy.cuda.Event(disable_timing=True)
        self._decoder = nvimgcodec.Decoder(device_id=index, backends=backends, options=_OPTIONS)
        self._parameters = nvimgcodec.DecodeParams(
            apply_exif_orientation=False, sample_format=nvimgcodec.SampleFormat.I_BGR
        )
        small = cv2.imencode('.jpg', np.zeros((16, 16, 3), np.uint8))[1].reshape(-1)
        if self._decoder.decode(nvimgcodec.CodeStream(small), params=self._parameters) is None:
            raise MissingDependencyError(f'nvImageCodec finds no nvJPEG on this GPU: {_INSTALL}')

    def open(self, frame: Frame) -> Any | FrameError | None:
        """Return a JPEG's stream for :meth:`decode`, or what is wrong with it.

        ``None``: it lacks its end marker, and only the CPU's decoder can decide if it is whole.
        """
        found, _ = attempt(self._open, frame)
        return found

    def decode(
        self,
        frames: Sequence[Frame],
        images: list[Any],
        stream: Any,
        opened: Sequence[Any | FrameError] | None = None,
    ) -> list[Source | FrameError]:
        """Return decoded images with their addresses on the device, or what is wrong.

        Args:
            frames: ``jpeg`` ones.
            opened: what :meth:`open` returned for them; here ``None`` stands for a damaged one.
            images: whose memory is used: the longest list so far, which grows where that is short.
            stream: what is enqueued there afterwards finds the pixels.
        """
        found = [self.open(frame) for frame in frames] if opened is None else opened
        streams = [one for one in found if one is not None and not isinstance(one, FrameError)]
        decoded = iter(self._decode(streams, images))
        if streams:
            self._done.record(self._cupy.cuda.Stream.null)
            stream.wait_event(self._done)
        return [
            one
            if isinstance(one, FrameError)
            else _source(frame, None if one is None else next(decoded))
            for frame, one in zip(frames, found, strict=True)
        ]

    def _decode(self, streams: Sequence[Any], images: list[Any]) -> list[Any]:
        """Return a decoded image for each stream, ``None`` for a damaged one.

        nvImageCodec asks for as many images to decode into as there are streams, or for none. They
        are freed on the stream of their decoding, which has to outlive them: the default stream
        does.
        """
        kept = len(images)
        found: list[Any] = []
        for some, reused in ((streams[:kept], images[: len(streams)]), (streams[kept:], None)):
            if some:
                found += self._decode_some(some, reused)
        # What a damaged file was decoded to may have become as large as its header claimed.
        whole = [image for image in found if image is not None]
        images[:] = whole + images[len(streams) :]
        return found

    def _open(self, frame: Frame) -> Any:
        jpeg = whole_jpeg(frame)
        if jpeg.lacks_only_its_end:
            return None
        return self._codec.CodeStream(with_tables(frame.data, jpeg))

    def _decode_some(self, streams: Sequence[Any], images: Sequence[Any] | None) -> list[Any]:
        decode = partial(self._decoder.decode, params=self._parameters)
        try:
            return list(decode(streams, images=images))
        except RuntimeError as error:  # such as no memory for one of them
            if len(streams) == 1:
                _log.debug('nvJPEG: %s', str(error))
                return [None]
            return [image for one in streams for image in self._decode_some([one], None)]


def _source(frame: Frame, image: Any) -> Source | FrameError:
    shape = None if image is None else tuple(image.shape)
    if shape != (frame.height, frame.width, 3):
        return FrameError(
            DropReason.UNDECODABLE,
            f'damaged jpeg: expected {frame.width}x{frame.height}, decoded {shape}',
        )
    pixels = Pixels('bgr8', frame.height, frame.width, image.strides[0], frame.part)
    return pixels, image.__cuda_array_interface__['data'][0]
