"""Check without decoding whether a JPEG is complete, and where its picture begins and ends.

ITU-T T.81: segments with a length, and entropy-coded data in which each 0xFF is followed by a zero
or by a restart marker, so that any other marker ends it.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from math import ceil

import numpy as np

from yolox_trt_ros.core.jpeg_tables import STANDARD_TABLES

MOST_SEGMENTS = 2048
"""A file of more is taken for damaged; real ones have dozens, with colour profiles hundreds."""

MOST_PICTURES = 8
"""Beginnings of a picture that are tried, each inside the one before."""

NO_END = 'it has no end marker: truncated'

_CHUNK = 1 << 18
_SOI, _EOI, _SOS, _DHT, _DRI = 0xD8, 0xD9, 0xDA, 0xC4, 0xDD
_ALONE = frozenset({0x01, *range(0xD0, 0xD8)})
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_ARITHMETIC = frozenset({0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF})
_PROGRESSIVE = frozenset({0xC2, 0xC6, 0xCA, 0xCE})
_NO_CODES = _ARITHMETIC | {0xC3, 0xC7}  # these, or lossless: no Huffman codes of blocks


@dataclass(frozen=True, slots=True)
class Jpeg:
    """What the markers of a JPEG say.

    Attributes:
        begin, end: where the picture is in the data: from its start marker to behind its end
            marker, or to where reading stopped.
        height, width: pixels; 0: there is no start of frame. Also known of a damaged one.
        precision: bits of a sample.
        components: 1 for grey, 3 for colour, 4 for CMYK.
        progressive: whether scans refine the whole picture one after the other.
        scans: how many were found.
        tables: where Huffman tables have to be put in because it has none of its own; 0: nowhere.
        problem: why this is not a whole picture; empty if it is.
        lacks_only_its_end: whether only a decoder can decide if it is whole. Some cameras leave the
            end marker out; that is taken for possible in a single sequential scan only.
    """

    begin: int = 0
    end: int = 0
    height: int = 0
    width: int = 0
    precision: int = 0
    components: int = 0
    progressive: bool = False
    scans: int = 0
    tables: int = 0
    problem: str = ''
    lacks_only_its_end: bool = False


def read_head(data: np.ndarray) -> Jpeg:
    """Return what the segments before the first scan say; costs microseconds.

    Args:
        data: uint8 (n,), beginning with the start marker.

    Returns:
        No ``problem`` if a scan begins; ``end`` is where its data do.
    """
    return _Walk(data, 0, _Markers(data)).head()


def read_jpeg(data: np.ndarray) -> Jpeg:
    """Return what the markers of the first whole picture say, or of the first that is not whole.

    What stands behind its end marker is not looked at: previews, films, padding. Where another
    picture begins inside one, as when a camera sends the end of one and then a whole one, that is
    tried next. Time grows with the picture's bytes: about 0.5 ms for 1 MB.

    Args:
        data: uint8 (n,), beginning with the start marker.
    """
    markers = _Markers(data)
    first = found = _Walk(data, 0, markers).picture()
    for _ in range(MOST_PICTURES - 1):
        if not found.problem or data[found.end : found.end + 2].tobytes() != b'\xff\xd8':
            break
        found = _Walk(data, found.end, markers).picture()
    return first if found.problem else found


def find_start(data: np.ndarray, within: int) -> int:
    """Return where a JPEG begins among the first ``within`` bytes; -1: none does."""
    return data[:within].tobytes().find(b'\xff\xd8\xff')


def with_tables(data: np.ndarray, jpeg: Jpeg) -> np.ndarray:
    """Return a picture alone and as a file has it, with Huffman tables, uint8 (n,).

    Args:
        data: what ``jpeg`` was read from; where it has tables, a view on it is returned.
    """
    if not jpeg.tables:
        return data[jpeg.begin : jpeg.end]
    tables = np.frombuffer(STANDARD_TABLES, np.uint8)
    return np.concatenate((data[jpeg.begin : jpeg.tables], tables, data[jpeg.tables : jpeg.end]))


class _Markers:
    """Finds markers in entropy-coded data, a chunk at a time; no chunk is looked through twice."""

    def __init__(self, data: np.ndarray) -> None:
        self._data = data
        self._begin = self._stop = 0
        self._restarts = self._others = np.empty(0, np.intp)

    def next(self, position: int) -> tuple[int, int]:
        """Return where the next marker is that ends a scan, and how many restarts come before it.

        The place is -1 if there is none.
        """
        restarts = 0
        while position + 1 < len(self._data):
            if not self._begin <= position < self._stop:
                self._scan(position)
            passed, first = (
                int(np.searchsorted(found, position)) for found in (self._restarts, self._others)
            )
            if first < len(self._others):
                place = int(self._others[first])
                return place, restarts + int(np.searchsorted(self._restarts, place)) - passed
            restarts += len(self._restarts) - passed
            position = self._stop
        return -1, restarts

    def _scan(self, position: int) -> None:
        chunk = self._data[position : position + _CHUNK + 1]
        at = np.flatnonzero(chunk[:-1] == 0xFF)
        code = chunk[at + 1]
        restart = (code & 0xF8) == 0xD0
        self._begin, self._stop = position, position + len(chunk) - 1
        self._restarts = at[restart] + position
        self._others = at[(code != 0) & (code != 0xFF) & ~restart] + position


class _Walk:
    """Reads one picture's markers, from its start marker on.

    Args:
        data: uint8 (n,).
        begin: where the start marker is.
        markers: of ``data``; shared by the pictures in it.
    """

    def __init__(self, data: np.ndarray, begin: int, markers: _Markers) -> None:
        self._raw, self._markers = data.data, markers
        self._begin, self._position = begin, begin + 2
        self._frame = 0  # the code of the start of frame
        self._precision = self._tables = self._scans = self._interval = 0
        self._height = self._width = 0
        self._factors: dict[int, tuple[int, int]] = {}
        self._has_tables = False
        self._left = MOST_SEGMENTS

    def head(self) -> Jpeg:
        """Read on until a scan's data begin."""
        code, _, problem = self._segments()
        if code == _EOI:
            problem = 'it ends before its first scan'
        return self._ended(problem)

    def picture(self) -> Jpeg:
        """Read on until the picture ends or cannot go on."""
        while True:
            code, body, problem = self._segments()
            if code == _EOI and not self._scans:
                problem = 'it ends before its first scan'
            if problem or code == _EOI:
                break
            self._scans += 1
            begin = self._position
            end, restarts = self._markers.next(begin)
            self._position = end if end >= 0 else len(self._raw)
            problem = self._scan_problem(body, self._position - begin, restarts)
            if problem:
                break
            if end < 0:
                # A last 0xFF is half of what was an end marker or a byte of data.
                one = self._scans == 1 and body[0] == len(self._factors) and self._raw[-1] != 0xFF
                return self._ended(NO_END, one and self._frame not in _PROGRESSIVE)
        return self._ended(problem)

    def _ended(self, problem: str, lacks_only_its_end: bool = False) -> Jpeg:
        return Jpeg(
            self._begin,
            self._position,
            self._height,
            self._width,
            self._precision,
            len(self._factors),
            self._frame in _PROGRESSIVE,
            self._scans,
            self._tables,
            problem,
            lacks_only_its_end,
        )

    def _segments(self) -> tuple[int, bytes, str]:
        """Read segments up to a start of scan or the end marker.

        Returns:
            That one's code, a start of scan's parameters, and what is wrong, if anything is.
        """
        raw = self._raw
        while self._left:
            self._left -= 1
            place = self._next_marker()
            if place < 0:
                self._position = len(raw)
                return 0, b'', NO_END
            code = raw[place + 1]
            self._position = place + 2
            if code in _ALONE:
                continue
            if code == _EOI:
                return code, b'', ''
            if code == _SOI:
                self._position = place
                return 0, b'', 'another picture begins inside it'
            size = int.from_bytes(raw[place + 2 : place + 4], 'big')
            body = raw[place + 4 : place + 2 + size]
            if code in _FRAMES and not self._frame and len(body) >= 5:
                self._precision, self._height, self._width = struct.unpack_from('>BHH', body)
            if size < 2 or len(body) != size - 2:
                self._position = len(raw)
                return 0, b'', f'its segment ff{code:02x} of {size} bytes is cut: truncated'
            self._position = place + 2 + size
            problem = self._take(code, body, place)
            if problem or code == _SOS:
                return code, bytes(body) if code == _SOS else b'', problem
        return 0, b'', f'it has more than {MOST_SEGMENTS} segments'

    def _next_marker(self) -> int:
        place, raw = self._position, self._raw
        if place + 1 < len(raw) and raw[place] == 0xFF and raw[place + 1] not in (0, 0xFF):
            return place
        return self._markers.next(place)[0]  # fill bytes and, as decoders do, what is no marker

    def _take(self, code: int, body: memoryview, place: int) -> str:
        """Note what a segment says and return what is wrong with it."""
        if code in _FRAMES:
            return self._take_frame(code, body)
        if code == _DHT:
            self._has_tables = True
        elif code == _DRI and len(body) >= 2:
            self._interval = int.from_bytes(body[:2], 'big')
        elif code == _SOS:
            if not self._frame:
                return 'it has no start of frame'
            if not self._has_tables and self._frame not in _ARITHMETIC:
                self._tables, self._has_tables = place, True
        return ''

    def _take_frame(self, code: int, body: memoryview) -> str:
        if self._frame:
            return 'it has two starts of frame'
        if len(body) < 6 or len(body) < 6 + 3 * body[5]:
            return f'its start of frame has {len(body)} bytes'
        self._frame, components = code, body[5]
        for i in range(6, 6 + 3 * components, 3):
            self._factors[body[i]] = body[i + 1] >> 4, body[i + 1] & 15
        size = f'{self._width}x{self._height}'
        if not (self._height and self._width and all(map(all, self._factors.values()))):
            return f'its start of frame says {size} with sampling {list(self._factors.values())}'
        if not components or len(self._factors) != components:
            return f'its start of frame has {len(self._factors)} of {components} components'
        return ''

    def _scan_problem(self, body: bytes, size: int, restarts: int) -> str:
        """Return why a scan cannot be complete, if that shows in its size or its restarts."""
        if not body or len(body) != 4 + 2 * body[0]:
            return f'its start of scan has {len(body)} bytes'
        units, blocks = self._units(body[1 : 1 + 2 * body[0] : 2])
        if not units:
            return 'its start of scan names no components, or some that it has not'
        if self._interval and restarts < (units - 1) // self._interval:
            expected = (units - 1) // self._interval
            return f'a scan has {restarts} of {expected} restart markers: truncated'
        spectral = body[-3]
        # No code is shorter than a bit. Sequential blocks have two at least; in progressive scans
        # only those of the first coefficient have one for each block.
        bits = 0 if spectral else 1 if self._frame in _PROGRESSIVE else 2
        if self._frame not in _NO_CODES and size < blocks * bits // 8:
            return f'a scan has {size} bytes, takes at least {blocks * bits // 8}: truncated'
        return ''

    def _units(self, components: bytes) -> tuple[int, int]:
        """Return how many units a scan of components has between restarts, and how many blocks."""
        known = [self._factors[c] for c in components if c in self._factors]
        if not known or len(known) != len(components):
            return 0, 0
        most = [max(factor[i] for factor in self._factors.values()) for i in (0, 1)]
        size = self._width, self._height
        if len(known) > 1:
            across, down = (ceil(side / (8 * m)) for side, m in zip(size, most, strict=True))
            return across * down, across * down * sum(h * v for h, v in known)
        across, down = (
            ceil(ceil(side * own / m) / 8)
            for side, own, m in zip(size, known[0], most, strict=True)
        )
        return across * down, across * down
