"""Read video files: every picture with its time, in the order in which they are shown."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

from yolox_trt_ros.core.errors import ConfigError, DropReason, FrameError
from yolox_trt_ros.core.frame import Frame
from yolox_trt_ros.core.layouts import MAX_SIDE
from yolox_trt_ros.core.printing import one_line
from yolox_trt_ros.video.library import load_av
from yolox_trt_ros.video.pictures import picture_of

SUFFIXES = ('.avi', '.m4v', '.mkv', '.mov', '.mp4', '.mpeg', '.mpg', '.ts', '.webm')
"""Names of the files in a folder that are taken for videos."""

FORMATS = 'mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpeg,mpegts'
"""What a file may hold, by FFmpeg's names, whatever its own is. Others, such as playlists, name
further files and addresses, and FFmpeg would open those."""

MOST_PIXELS = MAX_SIDE * MAX_SIDE // 4
"""A few hundred bytes may ask for a picture of any size; the decoder refuses larger ones."""


class VideoFile:
    """A video of a file; its first stream of pictures, if there are several.

    Args:
        path: the file; its name need not be UTF-8.

    Attributes:
        path: the file.
        codec: as FFmpeg calls it, such as ``h264``.
        rate_hz: pictures per second; 0: the file does not say.
        count: about how many pictures there are; 0: the file does not say.

    Raises:
        ConfigError: it is missing, or no video that FFmpeg reads.
        MissingDependencyError: PyAV is not installed.
    """

    def __init__(self, path: Path) -> None:
        self._av = load_av()
        self.path = path
        with self._open() as container:
            stream = _stream(container, path)
            self.codec = str(stream.codec_context.name)
            self.rate_hz = float(stream.average_rate or stream.guessed_rate or 0)
            length_s = (container.duration or 0) / self._av.time_base
            self.count = int(stream.frames or round(length_s * self.rate_hz))

    def frames(self) -> Iterator[Frame | FrameError]:
        """Yield each picture, from the first on; where one is damaged, the error in its place.

        A frame's stamp is its time in the video, nanoseconds from the first picture on. What was
        coded as a difference to a damaged picture is not shown either: ``waiting_for_key_frame``.

        Raises:
            ConfigError: the file cannot be opened any more.
        """
        with self._open() as container:
            stream = _stream(container, self.path)
            stream.thread_type = 'AUTO'
            stream.codec_context.options = {
                'err_detect': 'explode',
                'max_pixels': str(MOST_PIXELS),
            }
            yield from self._frames(container, stream)

    def _frames(self, container: Any, stream: Any) -> Iterator[Frame | FrameError]:
        sequence, first, waits = 0, None, False
        for pictures in self._decoded(container, stream):
            if isinstance(pictures, FrameError):
                yield pictures
                waits = True
                continue
            for picture in pictures:
                waits = (waits and not picture.key_frame) or picture.is_corrupt
                if waits:
                    yield FrameError(
                        DropReason.WAITING_FOR_KEY_FRAME,
                        'coded as a difference to a damaged picture: the next key frame is '
                        'whole again',
                    )
                    continue
                unit = stream.time_base
                at_ns = round(
                    (picture.pts or 0) * Fraction(unit.numerator, unit.denominator) * 10**9
                )
                first = at_ns if first is None else first
                encoding, image = picture_of(picture)
                stamp_ns = max(0, at_ns - first)
                yield Frame.of(image, encoding, sequence=sequence, stamp_ns=stamp_ns)
                sequence += 1

    def _decoded(self, container: Any, stream: Any) -> Iterator[list[Any] | FrameError]:
        """Yield what each packet gives."""
        packets = container.demux(stream)
        while True:
            try:
                packet = next(packets, None)
                if packet is None:
                    return
                pictures = packet.decode()
            except self._av.FFmpegError as error:
                yield FrameError(DropReason.UNDECODABLE, f'damaged: {error.strerror}')
                continue
            yield pictures

    def _open(self) -> Any:
        try:
            file = self.path.open('rb')
        except OSError as error:
            raise ConfigError(f'{one_line(self.path)}: cannot be read: {error.strerror}') from error
        try:
            return self._av.open(file, options={'format_whitelist': FORMATS})
        except self._av.FFmpegError as error:
            file.close()
            raise ConfigError(
                f'{one_line(self.path)}: not a video that FFmpeg can read: {error.strerror}'
            ) from error


def _stream(container: Any, path: Path) -> Any:
    if not container.streams.video:
        raise ConfigError(f'{one_line(path)}: no pictures in this file')
    return container.streams.video[0]
