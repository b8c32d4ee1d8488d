"""Record what a detector publishes into a bag (mcap): detections, latency, status, diagnostics.

Messages are written as they come, without being parsed. Ctrl-C ends the recording, and the bag is
complete. With --images the camera images are recorded too: eight raw cameras at 10 Hz are 590 MB/s.
With --video they are recorded as video, at a small part of that, and so are overlays that --topics
names: CompressedVideo under <topic>/foxglove, which replay, report and the node read like images.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rich.live import Live
from rich.table import Table

from yolox_trt_ros.bags.writer import STORAGES, BagWriter
from yolox_trt_ros.cli.console import Console
from yolox_trt_ros.cli.numbers import number
from yolox_trt_ros.core.config import CameraConfig, Config
from yolox_trt_ros.core.encodings import VIDEO
from yolox_trt_ros.core.errors import BagError, ConfigError
from yolox_trt_ros.core.interruption import INTERRUPTED, held_back
from yolox_trt_ros.core.topics import BESIDE_IMAGES, RESULTS, ResultTopic, absolute
from yolox_trt_ros.core.transports import TRANSPORT_OF_TYPE, TRANSPORTS
from yolox_trt_ros.ros.dds import settings
from yolox_trt_ros.ros.process import DDS_HELP, keep_large_buffers
from yolox_trt_ros.ros.replay.recorder import DEPTH, Recorder, WantedTopic
from yolox_trt_ros.ros.replay.video_topic import VideoTopic
from yolox_trt_ros.vehicle_files import load_vehicle
from yolox_trt_ros.video.encoder import choose_encoder

OVERLAY, OVERLAY_HZ = 'overlay', 10.0
"""A part of the names of drawn images, and the rate that their key frames are set for."""
LOOK_S = 1.0
"""Time between two looks at the free space."""

_BEST_EFFORT = QoSProfile(depth=100, reliability=ReliabilityPolicy.BEST_EFFORT)
_LATCHED = QoSProfile(depth=100, durability=DurabilityPolicy.TRANSIENT_LOCAL)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument('--vehicle', required=True, help='vehicle file or packaged name')
    parser.add_argument(
        '--output', type=Path, help='folder of the bag (default: detections_DATE_TIME)'
    )
    parser.add_argument('--images', action='store_true', help='record the cameras’ images as well')
    parser.add_argument(
        '--video',
        choices=VIDEO,
        metavar='CODEC',
        help=f'record images as video: {", ".join(VIDEO)}; needs the extra [video]',
    )
    parser.add_argument(
        '--encoder',
        default='',
        help='the encoder of --video, as FFmpeg calls it (default: the first that runs here and is '
        'not under the GPL)',
    )
    parser.add_argument(
        '--topics',
        nargs='+',
        default=[],
        metavar='T',
        help='record these topics as well: names or patterns such as "/lidar/*"',
    )
    parser.add_argument(
        '--storage', choices=STORAGES, default='mcap', help='format of the bag (default: mcap)'
    )
    parser.add_argument(
        '--duration',
        type=number(0, math.inf),
        default=float('inf'),
        help='stop after so many seconds',
    )
    parser.add_argument(
        '--detector', default='/detector', help='name of the detector node (default: /detector)'
    )
    parser.add_argument(
        '--keep-free-mb',
        type=number(0, 1e12),
        default=500.0,
        help='stop when less disk space than this is free (default: 500)',
    )
    parser.add_argument('--dds', default='auto', help=DDS_HELP)


def run(args: argparse.Namespace) -> int:
    """Run the tool; 1 if nothing came, messages were lost or the disk is full.

    Ctrl-C is how a recording ends, but not one of nothing: 130.
    """
    if not args.duration > 0:
        raise ConfigError(f'--duration: expected more than 0 s, got {args.duration:g}')
    config = load_vehicle(args.vehicle)
    output = args.output or Path(time.strftime('detections_%Y-%m-%d_%H-%M-%S'))
    if output.exists():
        raise BagError(f'{output}: exists already and is not overwritten; give another --output')
    if args.encoder and not args.video:
        raise ConfigError('--encoder: for --video only; without effect here, so leave it out')
    encoder = choose_encoder(args.video, args.encoder) if args.video else ''
    topics = wanted_topics(config, args.detector, args.images or bool(encoder))
    _check_space(output.absolute().parent, args.keep_free_mb)
    keep_large_buffers()
    console = Console()
    console.print(settings.apply(args.dds), highlight=False)
    try:
        with BagWriter(output, args.storage) as bag:
            as_video = _as_video(config, args.detector, encoder)
            recorder, ended = _record(bag, topics, args, console, as_video)
    except OSError as error:
        raise BagError(
            f'{output}: the disk takes no more ({error}), so the bag has no end: "mcap recover" '
            'saves what is in it'
        ) from error
    return _report(recorder, output, ended, console)


def _record(
    bag: BagWriter,
    topics: list[WantedTopic],
    args: argparse.Namespace,
    console: Console,
    as_video: Callable[[WantedTopic], VideoTopic | None],
) -> tuple[Recorder, str]:
    """Record until the time is over, somebody ends it or the disk is nearly full; return which."""
    end, ended = time.monotonic() + args.duration, 'interrupted'
    with Recorder(topics, bag, args.topics, as_video) as recorder:
        with contextlib.suppress(KeyboardInterrupt):
            ended = 'full' if _watch(recorder, end, args.keep_free_mb, console) else 'over'
        with held_back():
            recorder.finish()
    return recorder, ended


def wanted_topics(config: Config, detector: str, images: bool) -> list[WantedTopic]:
    """Return what is recorded of a vehicle."""
    topics = [_result(result, detector) for result in RESULTS.values() if not result.per_camera]
    topics += [
        WantedTopic('/tf', 'tf2_msgs/msg/TFMessage'),
        WantedTopic('/tf_static', 'tf2_msgs/msg/TFMessage', _LATCHED),
    ]
    for camera in config.cameras:
        topics += [
            _result(result, detector, camera)
            for result in RESULTS.values()
            if result.per_camera and (not result.output or result.output in config.outputs)
        ]
        for name, kind in BESIDE_IMAGES.items():
            topic = absolute(camera.sibling_topic(name), detector)
            topics.append(WantedTopic(topic, kind, _BEST_EFFORT))
        if images:
            qos = QoSProfile(depth=camera.depth, reliability=ReliabilityPolicy.BEST_EFFORT)
            topic = absolute(camera.image_topic, detector)
            topics.append(WantedTopic(topic, TRANSPORTS[camera.transport].type_name, qos))
    # Cameras of one namespace share their camera_info.
    return list({topic.name: topic for topic in topics}.values())


def _as_video(
    config: Config, detector: str, encoder: str
) -> Callable[[WantedTopic], VideoTopic | None]:
    """Return what makes the video of a topic: of the cameras' images and of overlays."""
    rates = {absolute(c.image_topic, detector): c.rate_hz for c in config.cameras}

    def video(topic: WantedTopic) -> VideoTopic | None:
        transport = TRANSPORT_OF_TYPE.get(topic.type_name, '')
        is_picture = topic.name in rates or OVERLAY in topic.name.split('/')
        if not encoder or not transport or TRANSPORTS[transport].stream or not is_picture:
            return None
        return VideoTopic(topic.name, transport, encoder, rates.get(topic.name, OVERLAY_HZ))

    return video


def _result(result: ResultTopic, detector: str, camera: CameraConfig | None = None) -> WantedTopic:
    name = absolute(result.named(camera) if camera else result.pattern, detector)
    return WantedTopic(name, result.type, _LATCHED if result.latched else DEPTH)


def _watch(recorder: Recorder, end: float, keep_free_mb: float, console: Console) -> bool:
    """Write until the time is over; return whether the disk ended it."""
    live = Live(console=console, refresh_per_second=4) if console.is_terminal else None
    if live is None:
        console.print(f'recording {len(recorder.topics)} topics; Ctrl-C ends it')
    started = look = time.monotonic()
    with live or contextlib.nullcontext():
        while (now := time.monotonic()) < end:
            recorder.write_waiting()
            if now >= look:
                look = now + LOOK_S
                recorder.look()
                try:
                    _check_space(recorder.bag.path, keep_free_mb)
                except BagError as error:
                    console.print(str(error))
                    return True
            if live:
                live.update(_table(recorder, now - started))
            time.sleep(min(0.05, max(0.0, end - now)))
    return False


def _check_space(folder: Path, keep_free_mb: float) -> None:
    while not folder.exists():
        folder = folder.parent
    free_mb = shutil.disk_usage(folder).free / 1e6
    if free_mb < keep_free_mb:
        raise BagError(
            f'{folder}: {free_mb:,.0f} MB of disk space are left, --keep-free-mb asks for '
            f'{keep_free_mb:,.0f}: the recording ends here; make room or record elsewhere'
        )


def _table(recorder: Recorder, seconds: float) -> Table:
    table = Table(title=f'{seconds:.0f} s, {recorder.written / 1e6:,.1f} MB, Ctrl-C ends it')
    table.add_column('topic')
    for column in ('messages', 'per s', 'lost'):
        table.add_column(column, justify='right')
    for topic in recorder.topics:
        count = recorder.counts[topic.name]
        rate = f'{count / seconds:.1f}' if seconds > 0 else '–'
        lost = str(recorder.lost[topic.name] or '')
        table.add_row(topic.name, str(count), rate, lost, style='' if count else 'dim')
    return table


def _report(recorder: Recorder, output: Path, ended: str, console: Console) -> int:
    total = recorder.counts.total()
    for topic in recorder.topics:
        if count := recorder.counts[topic.name]:
            console.print(f'{count:>7} {topic.name}', highlight=False)
    console.print(f'{total} messages, {recorder.written / 1e6:,.1f} MB: {output}')
    for name, video in recorder.videos.items():
        if video.failed:
            console.print(
                f'{name}: {video.failed} images are not in the video: {video.problem}',
                highlight=False,
            )
    for name, why in recorder.left_out.items():
        console.print(f'not recorded: {name}: {why}', highlight=False)
    if recorder.lost:
        message = ', '.join(f'{name} {count}' for name, count in recorder.lost.items())
        slow = 'the disk or encoding is' if recorder.videos else 'the disk is'
        console.print(f'lost, because {slow} too slow: {message}')
    if not total:
        domain = os.environ.get('ROS_DOMAIN_ID', '0')
        console.print(
            f'nothing came: is the detector running, in ROS_DOMAIN_ID {domain}, under the name '
            f'that --detector says?'
        )
        return INTERRUPTED if ended == 'interrupted' else 1
    failed = any(video.failed for video in recorder.videos.values())
    return 1 if ended == 'full' or recorder.lost or failed else 0
