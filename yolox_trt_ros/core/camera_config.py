"""The parameters of one camera: the stream, its position, its simulation."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from yolox_trt_ros.core.class_scores import score_problems
from yolox_trt_ros.core.crop import Crop
from yolox_trt_ros.core.encodings import ALIASES, COMPRESSED, RAW, VIDEO
from yolox_trt_ros.core.errors import ConfigError, FrameError, did_you_mean
from yolox_trt_ros.core.extra_crops import ExtraCrop, read_crops
from yolox_trt_ros.core.layouts import MAX_SIDE
from yolox_trt_ros.core.parameters import parameter
from yolox_trt_ros.core.printing import shown
from yolox_trt_ros.core.regions import edges_of
from yolox_trt_ros.core.transports import TRANSPORTS

ENCODINGS = ('', *RAW, *COMPRESSED, *VIDEO)
TOPIC = re.compile(r'(~?/)?[a-z_{][\w{}]*(/[a-z_{][\w{}]*)*', re.IGNORECASE | re.ASCII)


@dataclass(frozen=True, slots=True)
class RigConfig:
    """Where a camera sits and what it sees: for the rendered world, and the overlay's mosaic.

    Vehicle coordinates: x forward, y left, z up, origin on the ground below the rear axle.
    """

    width: int = parameter(960, 'Image width in pixels.', low=16, high=16384)
    height: int = parameter(640, 'Image height in pixels.', low=16, high=16384)
    hfov_deg: float = parameter(90.0, 'Horizontal field of view in degrees.', low=5.0, high=150.0)
    x_m: float = parameter(1.5, 'Position in metres, forward.', low=-20.0, high=20.0)
    y_m: float = parameter(0.0, 'Position in metres, left.', low=-20.0, high=20.0)
    z_m: float = parameter(1.6, 'Position in metres, up.', low=0.0, high=20.0)
    yaw_deg: float = parameter(0.0, 'Yaw in degrees, left positive.', low=-360.0, high=360.0)
    pitch_deg: float = parameter(0.0, 'Pitch in degrees, down positive.', low=-90.0, high=90.0)
    roll_deg: float = parameter(
        0.0, 'Roll in degrees about the viewing direction.', low=-180.0, high=180.0
    )


@dataclass(frozen=True, slots=True)
class CameraSimConfig:
    """How camera_sim plays one camera."""

    encoding: str = parameter(
        '',
        'Encoding that camera_sim publishes; empty: the camera’s encoding, else bgr8 or jpeg.',
        choices=ENCODINGS,
        other_names=ALIASES,
    )
    source: str = parameter(
        '', 'Folder of images or videos, or video file, of this camera; empty: sim.source.'
    )
    width: int = parameter(
        0, 'Resize images to this width; 0: in proportion to the height.', low=0, high=MAX_SIDE
    )
    height: int = parameter(
        0,
        'Resize images to this height; 0: in proportion to the width; both 0: the world in the '
        'camera’s size, images and videos as they are.',
        low=0,
        high=MAX_SIDE,
    )
    jitter_ms: float = parameter(
        0.0, 'Standard deviation of the publication times in ms.', low=0.0, high=1000.0
    )


@dataclass(frozen=True, slots=True)
class CameraConfig:
    """One camera stream."""

    name: str
    rig: RigConfig
    sim: CameraSimConfig
    topic: str = parameter(
        '',
        'Full name of the image topic; empty: /<name>/image_raw, with /compressed, /foxglove or '
        '/ffmpeg appended when transport is compressed, video or ffmpeg.',
    )
    transport: str = parameter(
        'raw',
        'Type of the image topic: raw is sensor_msgs/Image, compressed CompressedImage, video '
        'foxglove_msgs/CompressedVideo, ffmpeg ffmpeg_image_transport_msgs/FFMPEGPacket.',
        choices=tuple(TRANSPORTS),
    )
    encoding: str = parameter(
        '',
        'Encoding that the driver publishes; with width and height it gives the memory that the '
        'middleware needs; empty: unknown.',
        choices=ENCODINGS,
        other_names=ALIASES,
    )
    width: int = parameter(
        0, 'Width of the driver’s images in pixels; 0: unknown.', low=0, high=MAX_SIDE
    )
    height: int = parameter(
        0, 'Height of the driver’s images in pixels; 0: unknown.', low=0, high=MAX_SIDE
    )
    enabled: bool = parameter(
        True, 'Use this camera; if false, nothing subscribes to it and no lane runs it.'
    )
    rate_hz: float = parameter(
        10.0,
        'Rate at which the driver publishes; plans and diagnostics expect it.',
        low=0.01,
        high=1000.0,
    )
    max_rate_hz: float = parameter(
        0.0,
        'Process at most this many images a second and drop the others as thinned; 0: no limit.',
        low=0.0,
        high=1000.0,
        runtime=True,
    )
    priority: float = parameter(
        1.0,
        'Weight of this camera when lanes are short of time; shares are proportional to it.',
        low=0.01,
        high=100.0,
        runtime=True,
    )
    deadline_ms: float = parameter(
        0.0,
        'Longest useful time from arrival to publication in ms; frames that cannot meet it are '
        'dropped as hopeless; 0: no deadline.',
        low=0.0,
        high=60000.0,
        runtime=True,
    )
    timeout_ms: float = parameter(
        1000.0,
        'Time without an image in ms after which diagnostics report the camera as STALE.',
        low=1.0,
        high=3600000.0,
        runtime=True,
    )
    objects_topic: str = parameter(
        '',
        'Topic of objects, such as /perception/object_recognition/detection/rois0; empty: '
        '~/<name>/objects.',
    )
    mask_topic: str = parameter(
        '',
        'Topic of class masks, such as /perception/object_recognition/detection/mask0; empty: '
        '~/<name>/mask.',
    )
    model: str = parameter(
        '', 'Which of model_names runs this camera; empty: the one that model describes.'
    )
    lane: str = parameter('', 'Run this camera on this lane only, while it is up; empty: on any.')
    score_threshold: float = parameter(
        0.0,
        'Drop detections of this camera whose score is lower; 0: model.score_threshold.',
        low=0.0,
        high=1.0,
        runtime=True,
    )
    class_thresholds: tuple[str, ...] = parameter(
        (),
        'Other score thresholds of single classes for this camera, such as person=0.2; they go '
        'before its score_threshold, and that before model.class_thresholds.',
        runtime=True,
    )
    crop: str = parameter(
        '',
        'Part of the image that the network sees, WIDTHxHEIGHT+LEFT+TOP in pixels, or WIDTHxHEIGHT '
        'for its centre; boxes stay in pixels of the image. In the size of the model’s input it is '
        'seen in full resolution. Empty: the whole image.',
    )
    crops: tuple[str, ...] = parameter(
        (),
        'Further parts, which the network sees besides that, each in a place of the same batch: '
        'written as crop is, then every N images or at R Hz, then priority P, such as 960x608+480'
        '+300 every 3 priority 0.5. Their boxes are merged into the image’s.',
    )
    ignore: tuple[str, ...] = parameter(
        (),
        'Parts of the image in which no detection counts, by the centres of boxes: rows 900-1200, '
        'rows 85%-, or polygon 0,900 960,700 1920,900; pixels of the image, or % of its size.',
        runtime=True,
    )
    max_megapixels: float = parameter(
        0.0,
        'Drop larger images as oversized, in millions of pixels; 0: four times the size of the '
        'first image, at least 4 and at most 36.',
        low=0.0,
        high=268.5,
        runtime=True,
    )
    max_decode_ms: float = parameter(
        150.0,
        'CPU time in ms in which an image should be decoded. One that takes longer, and four times '
        'longer than usual for the camera, slows the camera down.',
        low=1.0,
        high=60000.0,
        runtime=True,
    )
    depth: int = parameter(5, 'Queue depth of the subscription.', low=1, high=1000)
    reliability: str = parameter(
        'best_effort',
        'Reliability that the subscription requests.',
        choices=('best_effort', 'reliable'),
    )
    black_level: int = parameter(
        0, 'Value that becomes black in 16-bit images; needs white_level.', low=0, high=65534
    )
    white_level: int = parameter(
        0,
        'Value that becomes white in 16-bit images, such as 4095 for 12 bits; 0: both levels are '
        'computed from each image.',
        low=0,
        high=65535,
    )

    @property
    def has_rules(self) -> bool:
        """Return whether other detections count in its images than in those of others."""
        return bool(self.score_threshold or self.class_thresholds or self.ignore)

    @property
    def part(self) -> Crop | None:
        """Return which part of the images the network sees; None: all."""
        return Crop.read(self.crop) if self.crop else None

    @property
    def extra_crops(self) -> tuple[ExtraCrop, ...]:
        """Return which further parts the network sees."""
        return read_crops(self.crops)

    @property
    def levels(self) -> tuple[int, int]:
        """Return the samples that become black and white; (0, 0): found in each image."""
        return self.black_level, self.white_level

    @property
    def processed_hz(self) -> float:
        """Return the rate at which images come to the lanes."""
        return min(self.rate_hz, self.max_rate_hz) if self.max_rate_hz else self.rate_hz

    @property
    def image_topic(self) -> str:
        """Return the topic of the images: the one that is given, as it stands, or the default."""
        return self.topic or f'/{self.name}/image_raw{TRANSPORTS[self.transport].suffix}'

    def sibling_topic(self, name: str) -> str:
        """Return the topic beside the image topic, as image_transport lays them out."""
        image = self.image_topic.removesuffix(TRANSPORTS[self.transport].suffix)
        return f'{image.rpartition("/")[0]}/{name}'


def camera_problems(
    camera: CameraConfig, lanes: Sequence[str], models: Sequence[str] = ()
) -> list[str]:
    """Return what contradicts itself in a camera, each with what would be right.

    Args:
        camera: its configuration.
        lanes: the names of all lanes.
        models: the names of all further models.
    """
    problems = []
    where = f'cameras.{camera.name}'
    if camera.lane and camera.lane not in lanes:
        near = did_you_mean(camera.lane, lanes)
        problems.append(f'{where}.lane: no lane is called {shown(camera.lane)}{near}')
    if camera.model and camera.model not in models:
        near = did_you_mean(camera.model, models)
        listed = '' if models else ': model_names is empty'
        problems.append(f'{where}.model: no model is called {shown(camera.model)}{near}{listed}')
    if camera.white_level <= camera.black_level != 0:
        problems.append(
            f'{where}.black_level: expected less than white_level = '
            f'{camera.white_level}, got {camera.black_level}'
        )
    named = {name: getattr(camera, name) for name in ('objects_topic', 'mask_topic')}
    for name, topic in {'topic': camera.image_topic, **named}.items():
        if topic and not TOPIC.fullmatch(topic):
            problems.append(
                f'{where}.{name}: {shown(topic)} is not a topic name: expected parts of '
                'letters, digits and _ that start with no digit, with / between them'
            )
    problems += score_problems(where, camera.class_thresholds)
    if camera.crop:
        try:
            Crop.read(camera.crop)
        except ConfigError as error:
            problems.append(f'{where}.crop: {error}')
    try:
        read_crops(camera.crops)
    except ConfigError as error:
        problems.append(f'{where}.crops: {error}')
    try:
        edges_of(camera.ignore)
    except ConfigError as error:
        problems.append(f'{where}.ignore: {error}')
    return [*problems, *_image_problems(camera, where)]


def _image_problems(camera: CameraConfig, where: str) -> list[str]:
    """Return what contradicts itself in what a camera's images are said to be."""
    problems = []
    if camera.encoding and (message := TRANSPORTS[camera.transport].refusal(camera.encoding)):
        problems.append(f'{where}.encoding: {message}')
    if bool(camera.width) != bool(camera.height):
        problems.append(
            f'{where}.width: expected width and height, or none of them, got '
            f'{camera.width}x{camera.height}'
        )
    elif camera.width:
        problems += _crop_problems(camera, where)
    layout = RAW.get(camera.encoding)
    if layout and (camera.width % layout.width_multiple or camera.height % layout.height_multiple):
        problems.append(
            f'{where}.width: {layout.name} needs a multiple of {layout.width_multiple} and a '
            f'height that is one of {layout.height_multiple}, got {camera.width}x{camera.height}'
        )
    return problems


def _crop_problems(camera: CameraConfig, where: str) -> list[str]:
    """Return which parts do not lie in images of the size that the camera is said to have."""
    problems = []
    for name, texts in (('crop', filter(None, [camera.crop])), ('crops', camera.crops)):
        for text in texts:
            try:
                ExtraCrop.read(text).crop.of(camera.height, camera.width)
            except ConfigError:
                continue  # said already
            except FrameError as error:
                problems.append(f'{where}.{name}: {error}')
    return problems
