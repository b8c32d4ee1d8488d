"""Find the camera topics of a recording and their rates, and say why others are left out."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np

from yolox_trt_ros.bags.reader import Bag, Recorded, Topic
from yolox_trt_ros.bags.selection import selected
from yolox_trt_ros.core.errors import BagError, FrameError, MissingDependencyError
from yolox_trt_ros.core.messages import header_stamp_ns
from yolox_trt_ros.core.transports import TRANSPORT_OF_TYPE, TRANSPORTS
from yolox_trt_ros.ros.input.codecs import Arrival
from yolox_trt_ros.ros.input.readers import new_reader
from yolox_trt_ros.ros.input.video_messages import VideoReader

LOOKED_AT = 40
"""Messages of a topic that are read: the first may be damaged, and their times give the rate."""
LOOKED_AT_OF_VIDEO = 300
"""Likewise of video, in which the first key frame may be seconds away."""
RISING = 0.9
"""Share of header stamps that must rise for the rate to be theirs; otherwise times of receipt."""
SINGLE_CHANNEL = re.compile(r'(mono|8[US]C1|16[US]C1|32[SF]C1|64FC1)', re.IGNORECASE)
FLOATING = re.compile(r'(32|64)FC\d?', re.IGNORECASE)
NO_PICTURE = re.compile(r'(?:^|[/_])(depth|disparity|distance|confidence)', re.IGNORECASE)
"""Topics that measure where cameras show: a single channel there is no picture."""
VIDEO = re.compile(r'video|ffmpeg|theora|h\.?26[45]|hevc|av1', re.IGNORECASE)
TWIN = re.compile(r'[/_](compressed|image_compressed|foxglove|ffmpeg|video)$')


@dataclass(frozen=True, slots=True)
class BagCamera:
    """A topic whose messages the detector can read.

    Attributes:
        topic: as recorded.
        transport: a key of :data:`core.transports.TRANSPORTS`.
        rate_hz: 1 by the median distance of its images.
        encoding, width, height: of its first whole image, pixels; of video its codec.
    """

    topic: Topic
    transport: str
    rate_hz: float
    encoding: str
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class BagCameras:
    """The cameras of a recording.

    Attributes:
        taken: those to be used, in the order of the bag.
        left_out: why other topics with pictures are not, by topic.
    """

    taken: list[BagCamera] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)


def cameras_in(bag: Bag, patterns: Sequence[str] = ()) -> BagCameras:
    """Return the cameras of a recording, one topic of each.

    Args:
        bag: the recording.
        patterns: only these topics, by name or pattern. A name takes its topic although it looks
            like depth, or is the twin of another one; a pattern does not.

    Raises:
        BagError: a name or pattern means no topic, or a named topic cannot be read.
    """
    found = BagCameras()
    for name in selected(bag, patterns) if patterns else bag.topics:
        topic, named = bag.topics[name], name in patterns
        looked = _look(bag, topic, named)
        if isinstance(looked, BagCamera):
            found.taken.append(looked)
        elif named:
            raise BagError(f'{bag.path}: --topics {name}: {looked or f"{topic.type} is no image"}')
        elif looked:
            found.left_out[name] = looked
    _leave_out_twins(found, patterns)
    return found


def _look(bag: Bag, topic: Topic, named: bool) -> BagCamera | str:
    """Return the camera, why it is none, or '' of a topic that has nothing to do with pictures."""
    if topic.type not in TRANSPORT_OF_TYPE:
        if VIDEO.search(topic.type):
            return f'video ({topic.type}); record images, or decode it to sensor_msgs/msg/Image'
        return f'not read ({topic.type})' if 'Image' in topic.type.rpartition('/')[2] else ''
    transport, problem = TRANSPORT_OF_TYPE[topic.type], ''
    stream = TRANSPORTS[transport].stream
    most = LOOKED_AT_OF_VIDEO if stream else LOOKED_AT
    messages = list(islice(bag.messages([topic.name]), most))
    if not messages:
        return 'no message'
    encoding = next((e for e in (_encoding(bag, m) for m in messages) if e), '')
    if not stream and (why := _no_picture(topic.name, encoding, named)):
        return why
    try:
        read = new_reader(transport)
    except MissingDependencyError as error:
        return str(error)
    for message in messages:
        try:
            frame = read(message.cdr, Arrival(topic.name, 0, message.t_ns))
        except FrameError as error:
            problem = problem or f'cannot be read: {error}'
            continue
        kind = read.stream.codec if isinstance(read, VideoReader) else frame.encoding
        look = kind, frame.width, frame.height
        return BagCamera(topic, transport, rate_hz(messages), *look)
    return problem


def _encoding(bag: Bag, message: Recorded) -> str:
    """Return the ``encoding`` or ``format`` of a message; '' if it is damaged."""
    try:
        parsed: Any = bag.parse(message)
    except BagError:
        return ''
    return str(getattr(parsed, 'encoding', '') or getattr(parsed, 'format', ''))


def _no_picture(name: str, encoding: str, named: bool) -> str:
    if 'compresseddepth' in (encoding + name).lower():
        return f'depth ({encoding or "compressedDepth"})'
    if FLOATING.match(encoding):
        return f'depth or disparity ({encoding}), no picture'
    if VIDEO.search(encoding):
        return f'video ({encoding}); record images, or decode it to sensor_msgs/msg/Image'
    measures = NO_PICTURE.search(name)
    if measures and SINGLE_CHANNEL.match(encoding) and not named:
        return f'{measures[1].lower()} by its name ({encoding.strip()})'
    return ''


def rate_hz(messages: Sequence[Recorded]) -> float:
    """Return the rate of a topic's messages: 1 by the median distance of their header stamps.

    Where stamps do not rise, as of drivers that leave them zero, times of receipt count. The median
    does not mind gaps. 1.0 of a single message.
    """
    times = np.array([m.t_ns for m in messages], np.int64)
    stamps = np.array([header_stamp_ns(m.cdr) for m in messages], np.int64)
    for steps in (np.diff(stamps), np.diff(times)):
        rising = steps[steps > 0]
        if len(rising) and len(rising) >= RISING * len(steps):
            return float(f'{np.clip(1e9 / float(np.median(rising)), 0.01, 1000.0):.3g}')
    span = float(times[-1] - times[0])
    return float(f'{np.clip((len(times) - 1) / span * 1e9, 0.01, 1000.0):.3g}') if span > 0 else 1.0


def _leave_out_twins(found: BagCameras, named: Sequence[str]) -> None:
    """Keep one topic of a camera that was recorded both raw and compressed.

    The raw one, since it needs no decoding and has no artefacts; the compressed one where it has
    clearly more images. Topics that were named stay.
    """
    of_base: dict[str, list[BagCamera]] = {}
    for camera in found.taken:
        of_base.setdefault(TWIN.sub('', camera.topic.name), []).append(camera)
    for twins in of_base.values():
        raw = [c for c in twins if c.transport == 'raw']
        most = max(c.topic.count for c in twins)
        best = next((c for c in raw if c.topic.count >= RISING * most), None)
        best = best or max(twins, key=lambda c: c.topic.count)
        for camera in twins:
            if camera is not best and camera.topic.name not in named:
                found.taken.remove(camera)
                found.left_out[camera.topic.name] = (
                    f'the same pictures as {best.topic.name}, which is used'
                )
