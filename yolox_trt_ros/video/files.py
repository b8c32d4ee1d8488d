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

    def frames(self, start_ns: int = 0) -> Iterator[Frame | FrameError]:
        """Yield each picture; where one is damaged, the error in its place.

        A frame's stamp is its time in the video, nanoseconds from the first picture on. What was
        coded as a difference to a damaged picture is not shown either: ``waiting_for_key_frame``.

        Args:
            start_ns: from this time on, those between it and the key frame before may come, too.

        Raises:
            ConfigError: the file cannot be opened any more.
        """
        first = self._first() if start_ns > 0 else None
        if first is not None and self._seeks(first, start_ns):
            yield from self._decode(start_ns, first)
        else:
            yield from self._decode(0, None)

    def span(self) -> tuple[int, int]:
        """Return how many pictures there are, and the time of the last; nothing is decoded.

        Raises:
            ConfigError: the file cannot be read to its end.
        """
        with self._open() as container:
            stream = _stream(container, self.path)
            try:
                times = [p.pts for p in container.demux(stream) if p.size and p.pts is not None]
            except self._av.FFmpegError as error:
                raise ConfigError(
                    f'{one_line(self.path)}: cannot be read to its end: {error.strerror}'
                ) from error
            if not times:
                return 0, 0
            return len(times), _nanoseconds(max(times) - min(times), stream.time_base)

    def _first(self) -> int | None:
        """Return the time of the first picture in the stream's unit; None: it is not known."""
        with self._open() as container:
            try:
                picture = next(container.decode(_stream(container, self.path)), None)
            except self._av.FFmpegError:
                return None
            return None if picture is None else picture.pts

    def _seeks(self, first: int, start_ns: int) -> bool:
        """Return whether the file goes to a key frame before a time; some go to one behind it."""
        with self._open() as container:
            stream = _stream(container, self.path)
            try:
                _seek(container, stream, first, start_ns)
                picture = next(container.decode(stream), None)
            except self._av.FFmpegError:
                return False
            if picture is None or picture.pts is None or not picture.key_frame:
                return False
            return _nanoseconds(picture.pts - first, stream.time_base) <= start_ns

    def _decode(self, start_ns: int, first: int | None) -> Iterator[Frame | FrameError]:
        with self._open() as container:
            stream = _stream(container, self.path)
            stream.thread_type = 'AUTO'
            stream.codec_context.options = {
                'err_detect': 'explode',
                'max_pixels': str(MOST_PIXELS),
            }
            if first is not None:
                _seek(container, stream, first, start_ns)
            yield from self._frames(container, stream, first)

    def _frames(
        self, container: Any, stream: Any, first: int | None
    ) -> Iterator[Frame | FrameError]:
        sequence, waits = 0, False
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
                at = picture.pts or 0
                first = at if first is None else first
                encoding, image = picture_of(picture)
                stamp_ns = max(0, _nanoseconds(at - first, stream.time_base))
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


def _nanoseconds(count: int, unit: Fraction) -> int:
    return round(count * Fraction(unit.numerator, unit.denominator) * 10**9)


def _seek(container: Any, stream: Any, first: int, start_ns: int) -> None:
    """Go to the key frame before a time from the first picture on."""
    unit = Fraction(stream.time_base.numerator, stream.time_base.denominator) * 10**9
    container.seek(first + int(start_ns / unit), stream=stream, backward=True)


def _stream(container: Any, path: Path) -> Any:
    if not container.streams.video:
        raise ConfigError(f'{one_line(path)}: no pictures in this file')
    return container.streams.video[0]
