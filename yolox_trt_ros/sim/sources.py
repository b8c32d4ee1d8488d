"""What simulated cameras show: images or videos of a folder, a video, or the rendered world."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from yolox_trt_ros.core.config import CameraConfig, Config
from yolox_trt_ros.core.errors import ConfigError, FrameError
from yolox_trt_ros.core.printing import one_line
from yolox_trt_ros.core.transports import TRANSPORTS
from yolox_trt_ros.image_files import SUFFIXES, read_image
from yolox_trt_ros.sim.world_source import WorldSource
from yolox_trt_ros.video.files import SUFFIXES as VIDEOS

WORLD = 'world'
"""The value of a ``source`` parameter that means the rendered street, not a path."""


class PictureSource(Protocol):
    """Pictures of one camera that play in a loop.

    Attributes:
        count: pictures in one loop, at least 1.
        rate_hz: pictures per second of the loop; 0: a new one whenever the camera takes one.
    """

    count: int
    rate_hz: float

    def picture(self, index: int) -> np.ndarray:
        """Return picture ``index`` of the loop, uint8 (height, width, 3) BGR.

        Reading onwards is the fast case.

        Raises:
            ConfigError: the file behind it cannot be read.
        """
        ...

    def key(self, index: int) -> Hashable:
        """Return what distinguishes picture ``index`` from every other picture of every source."""
        ...


class FolderSource:
    """The images of a folder in the order of their names.

    Args:
        folder: is searched without its sub-folders.
        start: where in the loop to begin, 0 to 1, so that cameras that share a folder differ.

    Raises:
        ConfigError: no such folder, or no image in it.
    """

    rate_hz = 0.0

    def __init__(self, folder: Path, start: float = 0.0) -> None:
        if not folder.is_dir():
            raise ConfigError(f'{folder}: expected a folder of images, there is no such folder')
        files = sorted(f for f in folder.iterdir() if f.suffix.lower() in SUFFIXES)
        if not files:
            raise ConfigError(f'{folder}: no image in this folder ({", ".join(SUFFIXES)})')
        self.count = len(files)
        first = int(start * self.count) % self.count
        self._files = files[first:] + files[:first]

    def picture(self, index: int) -> np.ndarray:
        """Return an image of the folder; see :meth:`PictureSource.picture`."""
        try:
            return read_image(self._files[index])
        except FrameError as error:
            raise ConfigError(f'{one_line(self._files[index])}: {error}') from error

    def key(self, index: int) -> Hashable:
        """Return the file; see :meth:`PictureSource.key`."""
        return self._files[index]


class VideoSource:
    """A video file at its own speed.

    Args:
        file: anything OpenCV's video reader opens.

    Raises:
        ConfigError: the file is missing or not a video.
    """

    def __init__(self, file: Path) -> None:
        if not file.is_file():
            raise ConfigError(f'{one_line(file)}: expected a video file, there is no such file')
        if one_line(file) != str(file):  # OpenCV ends the process at a name that is not UTF-8
            raise ConfigError(f'{one_line(file)}: OpenCV opens no video of this name: rename it')
        self._file = file
        self._open()
        self.rate_hz = float(self._video.get(cv2.CAP_PROP_FPS)) or 25.0
        self.count = int(self._video.get(cv2.CAP_PROP_FRAME_COUNT))
        if self.count < 1 or not self._video.isOpened():
            raise ConfigError(f'{file}: not a video that OpenCV can read')

    def _open(self) -> None:
        self._video = cv2.VideoCapture(str(self._file))
        self._next = 0

    def picture(self, index: int) -> np.ndarray:
        """Return a picture of the video; see :meth:`PictureSource.picture`."""
        if index < self._next:
            self._open()
        while self._next < index and self._video.grab():
            self._next += 1
        good, bgr = self._video.read()
        if good:
            self._next += 1
            return bgr
        if self._next == 0:
            raise ConfigError(f'{self._file}: no picture of this video can be read')
        self.count = self._next  # containers state their length loosely: the loop ends here
        return self.picture(0)

    def key(self, index: int) -> Hashable:
        """Return file and place in it; see :meth:`PictureSource.key`."""
        return self._file, index


def played(config: Config, camera: CameraConfig) -> CameraConfig:
    """Return a camera with the encoding and size that the simulator gives its images.

    The rendered world has the camera's size; photographs and videos are stretched to no size that
    ``sim`` does not ask for. A size of 0 is that of the source, or in proportion to the other side.
    """
    sim, rig = camera.sim, camera.rig
    width, height = sim.width, sim.height
    if not (width or height) and source_name(config, camera) == WORLD:
        width, height = camera.width or rig.width, camera.height or rig.height
    encoding = sim.encoding or camera.encoding or TRANSPORTS[camera.transport].encodings[0]
    return replace(camera, encoding=encoding, width=width, height=height)


def source_name(config: Config, camera: CameraConfig) -> str:
    """Return what a camera shows: ``world``, a folder or a file."""
    return camera.sim.source or config.sim.source


def open_source(config: Config, camera: CameraConfig) -> PictureSource:
    """Return what a camera shows.

    Cameras that share a folder begin at evenly spread pictures of it; of a folder that holds videos
    and no images, each camera plays the next video in the order of their names.

    Raises:
        ConfigError: the source does not exist or holds no pictures; the message names the
            parameter.
    """
    name = source_name(config, camera)
    where = f'cameras.{camera.name}.sim.source' if camera.sim.source else 'sim.source'
    if name == WORLD:
        return WorldSource(config.sim.seed, camera)
    path = Path(name).expanduser()
    try:
        if path.is_dir():
            sharing = [c.name for c in config.cameras if source_name(config, c) == name]
            place = sharing.index(camera.name)
            if videos := _videos_only(path):
                return VideoSource(videos[place % len(videos)])
            return FolderSource(path, place / len(sharing))
        if path.suffix.lower() in VIDEOS:
            return VideoSource(path)
    except ConfigError as error:
        raise ConfigError(f'{where}: {error}') from error
    what = 'is no video file' if path.exists() else 'does not exist'
    raise ConfigError(
        f'{where}: "{name}" {what}; expected a folder of images or videos, a video file '
        f'({", ".join(VIDEOS)}) or "{WORLD}"'
    )


def _videos_only(folder: Path) -> list[Path]:
    """Return the videos of a folder, sorted by name; none where it holds images as well."""
    files = sorted(folder.iterdir())
    if any(file.suffix.lower() in SUFFIXES for file in files):
        return []
    return [file for file in files if file.suffix.lower() in VIDEOS]
