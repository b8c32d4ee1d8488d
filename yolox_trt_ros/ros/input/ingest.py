"""Choose the input mode of the cameras: native, plain, simulated or replayed."""

from __future__ import annotations

from collections.abc import Callable

from rclpy.node import Node

from yolox_trt_ros.compose import pinned_memory
from yolox_trt_ros.core.config import CameraConfig, Config
from yolox_trt_ros.core.errors import MissingDependencyError
from yolox_trt_ros.core.host_memory import PinnedMemory
from yolox_trt_ros.core.transports import TRANSPORTS
from yolox_trt_ros.ros.input.intake import Ingest, PacedSink
from yolox_trt_ros.ros.input.native_ingest import NativeIngest
from yolox_trt_ros.ros.input.plain_ingest import PlainIngest
from yolox_trt_ros.ros.input.readers import new_reader
from yolox_trt_ros.ros.input.subscribe import message_type


def check_inputs(config: Config) -> None:
    """Refuse cameras whose messages cannot be read here, before anything that takes long.

    Raises:
        MissingDependencyError: PyAV, or the package of a camera's messages, is not installed.
    """
    if config.ingest == 'simulated':
        return
    for transport in sorted({camera.transport for camera in config.cameras}):
        new_reader(transport)
        if config.ingest != 'replayed':
            message_type(transport)


def open_ingest(node: Node, config: Config, pipeline: PacedSink) -> Ingest:
    """Take images of all cameras from now on.

    Args:
        node: owner of the subscriptions.
        config: its ``ingest`` says how; ``auto`` falls back from native to plain and says why.
        pipeline: takes the frames and counts what never became one.

    Raises:
        ConfigError: the source of a simulated camera cannot be read.
        BagError: the bag to replay cannot be read, or lacks a camera.
    """
    logger = node.get_logger()
    # Readers of bags and pictures take a quarter of a node's start: only who needs them has them.
    if config.ingest == 'simulated':
        from yolox_trt_ros.ros.input.local_ingest import LocalIngest

        return LocalIngest(node, config, pipeline)
    if config.ingest == 'replayed':
        from yolox_trt_ros.ros.replay.ingest import ReplayIngest

        return ReplayIngest(node, config, pipeline)
    if config.ingest == 'plain':
        room = pipeline if config.lockstep else None
        return PlainIngest(node, config.cameras, pipeline, logger.warning, room=room)
    if config.lockstep:  # native mode skips images when newer ones wait
        mode = 'plain: lockstep needs every image'
        return PlainIngest(node, config.cameras, pipeline, logger.warning, mode, room=pipeline)
    natively, others = _split(config.cameras)
    if others and natively:
        images = _native_or_plain(node, config, pipeline, natively)
        try:
            video = PlainIngest(node, others, pipeline, logger.warning)
        except BaseException:
            images.close()
            raise
        return _BothModes(images, video)
    if others:
        return PlainIngest(node, others, pipeline, logger.warning)
    return _native_or_plain(node, config, pipeline, natively)


def _split(
    cameras: tuple[CameraConfig, ...],
) -> tuple[tuple[CameraConfig, ...], tuple[CameraConfig, ...]]:
    """Return the cameras whose messages the C++ part takes, and those of video."""
    video = tuple(c for c in cameras if TRANSPORTS[c.transport].stream)
    return tuple(c for c in cameras if c not in video), video


class _BothModes:
    """Images in native mode and video through rclpy, each camera's in the one that takes it."""

    def __init__(self, images: Ingest, video: Ingest) -> None:
        self._images, self._video = images, video
        self.mode = f'{images.mode}; video {video.mode}'
        self.notes = images.notes | video.notes

    def close(self) -> None:
        """Take no further image."""
        self._video.close()
        self._images.close()


def _native_or_plain(
    node: Node, config: Config, pipeline: PacedSink, cameras: tuple[CameraConfig, ...]
) -> Ingest:
    logger = node.get_logger()
    try:
        return NativeIngest(
            node,
            cameras,
            pipeline,
            logger.warning,
            _buffers(config),
            pinned_memory=_pinned_memory(config, logger.warning),
        )
    except MissingDependencyError as error:
        logger.warning(f'images come in through rclpy, at several times the CPU time: {error}')
        mode = f'plain: {error}'
        return PlainIngest(node, cameras, pipeline, logger.warning, mode)


def _pinned_memory(config: Config, warn: Callable[[str], None]) -> PinnedMemory | None:
    """Return what makes images readable for the lanes' devices, if there are such."""
    try:
        return pinned_memory(config)
    except MissingDependencyError as error:
        warn(f'images are not in pinned memory: {error}')
        return None


def _buffers(config: Config) -> int:
    """Return how many images of one camera can be in use: it may be on every lane at once."""
    on_lanes = sum(lane.in_flight + 1 for lane in config.lanes)
    # One more waits for a lane, one is about to, and one is being filled.
    return on_lanes + 3
