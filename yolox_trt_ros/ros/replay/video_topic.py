"""Record a topic of images as video: encode in a thread of its own, keep stamps and frame_id."""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

from yolox_trt_ros.core.errors import FrameError, YoloxTrtRosError
from yolox_trt_ros.core.frame import Frame
from yolox_trt_ros.core.messages import seconds_and_rest
from yolox_trt_ros.core.printing import one_line
from yolox_trt_ros.core.transports import TRANSPORTS
from yolox_trt_ros.detect.cpu.preprocess import bgr_image
from yolox_trt_ros.ros.input.codecs import Arrival
from yolox_trt_ros.ros.input.readers import new_reader
from yolox_trt_ros.video.encoder import EncodedVideo


class Encoded(NamedTuple):
    """What became of an image.

    Attributes:
        t_ns: when the image was recorded, nanoseconds.
        cdr: the message of its packet; empty: the encoder holds it, or it could not be read.
        bytes_taken: of the messages of images that are done with.
    """

    t_ns: int
    cdr: bytes
    bytes_taken: int


class VideoTopic:
    """One topic of images, recorded as video.

    Args:
        images: the topic.
        transport: of its messages.
        encoder: a key of :data:`video.encoder.ENCODERS`.
        rate_hz: of its images, for a key frame a second.

    Attributes:
        topic: of the video.
        failed: images that are not in it.
        problem: why, of the first one.
    """

    TYPE = TRANSPORTS['video'].type_name

    def __init__(self, images: str, transport: str, encoder: str, rate_hz: float) -> None:
        base = images.removesuffix(TRANSPORTS[transport].suffix)
        self.topic = f'{base}{TRANSPORTS["video"].suffix}'
        self.failed, self.problem = 0, ''
        self._read = new_reader(transport)
        self._video = EncodedVideo(encoder, rate_hz)
        self._headers: deque[tuple[int, Frame]] = deque()
        self._thread = ThreadPoolExecutor(1, f'video {images}')
        self._pending: deque[Future[list[Encoded]]] = deque()

    def put(self, t_ns: int, message: bytes) -> None:
        """Take a serialised image that was recorded at ``t_ns``."""
        self._pending.append(self._thread.submit(self._encode, t_ns, message))

    def ready(self) -> Iterator[Encoded]:
        """Yield what is encoded by now."""
        while self._pending and self._pending[0].done():
            yield from self._pending.popleft().result()

    def finish(self) -> Iterator[Encoded]:
        """Yield everything else; no image comes any more."""
        self._thread.shutdown()
        yield from self.ready()
        try:
            packets = self._video.finish()
        except YoloxTrtRosError as error:
            self._encoder_failed(error)
            packets = self._video.finish()
        yield from self._packets(packets)

    def _encode(self, t_ns: int, message: bytes) -> list[Encoded]:
        done = [Encoded(t_ns, b'', len(message))]
        try:
            frame = self._read(message, Arrival(self.topic, 0, t_ns))
            bgr = bgr_image(frame)
            self._headers.append((t_ns, frame))
            return done + self._packets(self._video.encode(bgr))
        except FrameError as error:
            self.failed += 1
            self.problem = self.problem or one_line(error)
        except YoloxTrtRosError as error:
            self._encoder_failed(error)
        return done

    def _encoder_failed(self, error: YoloxTrtRosError) -> None:
        """Count the images without a packet: all but the first ones, whose packets are ready."""
        self.problem = self.problem or one_line(error)
        while len(self._headers) > self._video.ready:
            self._headers.pop()
            self.failed += 1

    def _packets(self, packets: list[bytes]) -> list[Encoded]:
        """Return packets as messages; they come in the order of their pictures."""
        found = []
        for packet in packets:
            t_ns, frame = self._headers.popleft()
            cdr = compressed_video(frame.stamp_ns, frame.frame_id, packet, self._video.codec)
            found.append(Encoded(t_ns, cdr, 0))
        return found


def compressed_video(stamp_ns: int, frame_id: str, data: bytes, codec: str) -> bytes:
    """Return a serialised ``foxglove_msgs/CompressedVideo`` (plain CDR, little endian)."""
    cdr = bytearray(b'\0\1\0\0' + struct.pack('<iI', *seconds_and_rest(stamp_ns)))
    for part in (frame_id.encode() + b'\0', data, codec.encode() + b'\0'):
        cdr += bytes(-len(cdr) % 4)
        cdr += struct.pack('<I', len(part)) + part
    return bytes(cdr)
