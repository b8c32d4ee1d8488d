"""Loops of a camera's pictures, encoded as its driver would, in memory where there is room."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping

from yolox_trt_ros.core.config import CameraConfig, Config
from yolox_trt_ros.core.errors import ConfigError, StoppedError
from yolox_trt_ros.core.transports import TRANSPORTS
from yolox_trt_ros.sim.encode import EncodedImage, encode, fit
from yolox_trt_ros.sim.sources import PictureSource, open_source, played, source_name
from yolox_trt_ros.sim.world.truth import GroundTruth
from yolox_trt_ros.sim.world_source import WorldSource, prerender

CACHE_BYTES = 2 << 30
"""Most memory that encoded pictures may take; loops that do not fit are encoded while they play."""


class Album:
    """Encoded pictures in memory, each kept once however many cameras show it."""

    def __init__(self, most_bytes: int = CACHE_BYTES) -> None:
        self._free = most_bytes
        self._images: dict[Hashable, EncodedImage] = {}

    def get(self, key: Hashable) -> EncodedImage | None:
        """Return a kept picture."""
        return self._images.get(key)

    def keep(self, images: Mapping[Hashable, EncodedImage]) -> None:
        """Keep pictures that are not kept yet."""
        for key, image in images.items():
            if key not in self._images:
                self._images[key] = image
                self._free -= image.buffer.nbytes

    def has_room(self, size: int) -> bool:
        """Return whether ``size`` more bytes may be kept."""
        return size <= self._free


class Loop:
    """A camera's source, encoded as its driver would.

    Args:
        source: the pictures.
        look: the camera with the encoding and size of its images; see :func:`sources.played`.
        album: where encoded pictures are kept.
    """

    def __init__(self, source: PictureSource, look: CameraConfig, album: Album) -> None:
        self._source = source
        self._look = look
        self._album = album

    @property
    def count(self) -> int:
        """Return how many pictures the loop has."""
        return self._source.count

    def truth(self, index: int) -> GroundTruth | None:
        """Return what is to be seen in a picture of the world; ``None`` of any other source."""
        return self._source.truth(index) if isinstance(self._source, WorldSource) else None

    def index(self, tick: int, after_s: float) -> int:
        """Return which picture a tick shows, ``after_s`` seconds from the start."""
        rate = self._source.rate_hz
        return (math.floor(after_s * rate) if rate else tick) % self._source.count

    def image(self, index: int) -> EncodedImage:
        """Return an encoded picture of the loop.

        Raises:
            ConfigError: the file behind it cannot be read.
        """
        return self._album.get(self._key(index)) or self._encode(index)

    def encode_ahead(self, stopping: Callable[[], bool] = lambda: False) -> bool:
        """Keep the whole loop in the album, or nothing of it where there is no room for all.

        Raises:
            StoppedError: ``stopping`` said so.
        """
        images: dict[Hashable, EncodedImage] = {}
        used = 0
        for index in range(self._source.count):
            if stopping():
                raise StoppedError('pictures are not read ahead any further')
            key = self._key(index)
            if self._album.get(key) is None and key not in images:
                images[key] = self._encode(index)
                used += images[key].buffer.nbytes
                expected = used if index else used * self._source.count
                if not self._album.has_room(expected):
                    return False
        self._album.keep(images)
        return True

    def _key(self, index: int) -> Hashable:
        look = self._look
        return self._source.key(index), look.encoding, look.width, look.height

    def _encode(self, index: int) -> EncodedImage:
        look = self._look
        bgr = fit(self._source.picture(index), look.encoding, look.width, look.height)
        return encode(bgr, look.encoding)


def open_loops(
    config: Config,
    report: Callable[[str], None],
    album: Album,
    stopping: Callable[[], bool] = lambda: False,
) -> dict[str, Loop]:
    """Open every camera's source and encode ahead what fits into the album.

    Args:
        config: cameras and their sources.
        report: called with words on how far it is.
        album: where pictures are kept.
        stopping: asked now and then whether to give up.

    Raises:
        StoppedError: ``stopping`` said so.
        YoloxTrtRosError: a source cannot be read or rendered, or an encoding does not fit the
            camera's transport.
    """
    looks = {camera.name: played(config, camera) for camera in config.cameras}
    for name, look in looks.items():
        if TRANSPORTS[look.transport].stream:
            raise ConfigError(
                f'cameras.{name}.transport: simulated cameras send no video: set it to raw or '
                'compressed'
            )
        if message := TRANSPORTS[look.transport].refusal(look.encoding):
            raise ConfigError(f'cameras.{name}.sim.encoding: {message}')
    sources = {camera.name: open_source(config, camera) for camera in config.cameras}
    prerender([s for s in sources.values() if isinstance(s, WorldSource)], report, stopping)
    loops: dict[str, Loop] = {}
    for camera in config.cameras:
        look = looks[camera.name]
        loop = loops[camera.name] = Loop(sources[camera.name], look, album)
        when = 'kept in memory' if loop.encode_ahead(stopping) else 'encoded while playing'
        report(
            f'{camera.name}: {loop.count} pictures of {source_name(config, camera)} '
            f'as {look.encoding}, {when}'
        )
    return loops
