"""The table of message types that carry images, by their names in image_transport."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

from yolox_trt_ros.core.encodings import COMPRESSED, RAW, VIDEO

Entry = TypeVar('Entry')


@dataclass(frozen=True, slots=True)
class Transport:
    """One kind of message.

    Attributes:
        name: a value of ``cameras.<name>.transport``.
        type_name: ROS type of its messages.
        suffix: what image_transport puts behind the name of the topic.
        encodings: what its messages may carry; the first is what camera_sim sends if nothing is
            said.
        stream: whether a message can only be read after those before it, as of video.
    """

    name: str
    type_name: str
    suffix: str
    encodings: tuple[str, ...]
    stream: bool = False

    def refusal(self, encoding: str) -> str:
        """Return why messages cannot carry an encoding; '' if they can."""
        if encoding in self.encodings:
            return ''
        some = ', '.join(self.encodings[:3]) + (', …' if len(self.encodings) > 3 else '')
        return f'transport {self.name} needs one of {some}, got "{encoding}"'


TRANSPORTS = {
    t.name: t
    for t in (
        Transport('raw', 'sensor_msgs/msg/Image', '', tuple(RAW)),
        Transport('compressed', 'sensor_msgs/msg/CompressedImage', '/compressed', COMPRESSED),
        Transport('video', 'foxglove_msgs/msg/CompressedVideo', '/foxglove', VIDEO, stream=True),
        Transport(
            'ffmpeg', 'ffmpeg_image_transport_msgs/msg/FFMPEGPacket', '/ffmpeg', VIDEO, stream=True
        ),
    )
}
"""By name. A further one is a row here and a reader of its messages in ``ros/input/readers.py``."""

TRANSPORT_OF_TYPE = {t.type_name: t.name for t in TRANSPORTS.values()}
"""Names of transports by the ROS type of their messages."""


def for_each_transport(table: Mapping[str, Entry]) -> Mapping[str, Entry]:
    """Return a table that has one entry for each transport.

    Raises:
        TypeError: it lacks one, or has one that :data:`TRANSPORTS` does not know.
    """
    if differs := TRANSPORTS.keys() ^ table.keys():
        raise TypeError(f'expected one entry a transport, differs in {sorted(differs)}')
    return table
