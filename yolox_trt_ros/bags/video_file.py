"""Read a video file as a bag of one camera: its pictures are messages of raw images."""

from __future__ import annotations

import re
import struct
from collections import Counter
from collections.abc import Collection, Iterator

from yolox_trt_ros.bags.packing import DamageError
from yolox_trt_ros.bags.storage import FileTopic, Message, Storage
from yolox_trt_ros.core.errors import ConfigError, FrameError
from yolox_trt_ros.core.frame import Frame
from yolox_trt_ros.core.messages import seconds_and_rest
from yolox_trt_ros.video.files import VideoFile

TYPE = 'sensor_msgs/msg/Image'
OTHER = re.compile('[^A-Za-z0-9_]+')


class VideoStorage(Storage):
    """A video file. Times count from its first picture on; the topic is called after the file."""

    kind = 'video'

    def _open(self) -> None:
        try:
            self._video = VideoFile(self.path)
            count, last_ns = self._video.span()
        except ConfigError as error:
            raise DamageError(str(error).replace(f'{self.path}: ', '')) from error
        name = OTHER.sub('_', self.path.stem).strip('_') or 'video'
        topic = f'/{name if name[0].isalpha() else f"video_{name}"}/image_raw'
        self.contents.topics[0] = FileTopic(0, topic, TYPE, count=count)
        self.contents.count = count
        if count:
            self.contents.span(0, last_ns)

    def messages(self, ids: Collection[int], start_ns: int, stop_ns: int) -> Iterator[Message]:
        """Yield the pictures as messages; those that are damaged are reported and left out."""
        if 0 not in ids:
            return
        wrong: Counter[str] = Counter()
        for frame in self._video.frames(start_ns):
            if isinstance(frame, FrameError):
                wrong[str(frame)] += 1
            elif frame.stamp_ns >= stop_ns:
                break
            elif frame.stamp_ns >= start_ns:
                yield frame.stamp_ns, 0, image_message(frame)
        for why, count in wrong.items():
            self.losses.add(f'{count} pictures are left out: {why}')


def image_message(frame: Frame) -> bytes:
    """Return a raw frame as a serialised ``sensor_msgs/Image`` (plain CDR, little endian)."""
    frame_id, encoding = (text.encode() + b'\0' for text in (frame.frame_id, frame.encoding))
    head = bytearray(b'\0\1\0\0' + struct.pack('<iI', *seconds_and_rest(frame.stamp_ns)))
    head += struct.pack('<I', len(frame_id)) + frame_id
    head += bytes(-len(head) % 4) + struct.pack('<II', frame.height, frame.width)
    head += struct.pack('<I', len(encoding)) + encoding + bytes([frame.big_endian])
    head += bytes(-len(head) % 4) + struct.pack('<II', frame.step, frame.data.size)
    return bytes(head) + frame.data.tobytes()
