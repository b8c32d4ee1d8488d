"""Look into packets of video: where a decoder may begin, and whether one is missing.

A packet is one picture: an access unit in Annex B of H.264 and H.265, a frame of VP9, a temporal
unit of AV1 in its low overhead format.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from yolox_trt_ros.core.errors import DropReason, FrameError

START = re.compile(rb'\x00\x00\x01')
"""Where a unit of Annex B begins (ITU-T H.264 and H.265, Annex B)."""
ESCAPED = re.compile(rb'\x00\x00\x03')
"""A zero byte more than these two never stands in a unit; the 3 goes before it is read."""
MOST_UNITS = 4096
"""Of a packet; each costs time to look at, and no encoder makes nearly as many."""
LONGEST_HEAD = 256
"""Bytes of a unit that are read: parameters and the beginning of a slice's header."""


@dataclass(frozen=True, slots=True)
class PacketHead:
    """What a packet says of itself.

    Attributes:
        key: whether a decoder may begin here.
        whole: whether the picture is then whole at once, and not only after some more.
        parameters: of H.264 and H.265, the sequence's parameters if the packet carries them.
        frame_number: of H.264, the picture's ``frame_num``; -1 of others, or if it is not known.
        reference: of H.264, whether other pictures are coded as differences to it.
    """

    key: bool
    whole: bool
    parameters: bytes = b''
    frame_number: int = -1
    reference: bool = False


class Bits:
    """Reads a unit's bits from the first on; beyond its end are zeros."""

    def __init__(self, data: bytes) -> None:
        self._value = int.from_bytes(data, 'big')
        self._left = 8 * len(data)

    def read(self, count: int) -> int:
        """Return the next ``count`` bits."""
        self._left -= count
        shifted = self._value >> self._left if self._left >= 0 else self._value << -self._left
        return shifted & ((1 << count) - 1)

    def exp_golomb(self) -> int:
        """Return the next number in Exp-Golomb code (H.264, 9.1)."""
        zeros = 0
        while self._left > 0 and zeros < 32 and not self.read(1):
            zeros += 1
        return (1 << zeros) - 1 + (self.read(zeros) if zeros else 0)

    def signed(self) -> int:
        """Return the next signed number in Exp-Golomb code (H.264, 9.1.1)."""
        number = self.exp_golomb()
        return (number + 1) // 2 if number % 2 else -(number // 2)


def units(data: bytes) -> Iterator[bytes]:
    """Yield the units of an access unit in Annex B, escapes included.

    Raises:
        FrameError: ``malformed``: it does not begin as Annex B does, or has too many units.
    """
    starts = START.finditer(data)
    first = next(starts, None)
    if first is None or data[: first.start()].strip(b'\0'):
        raise FrameError(
            DropReason.MALFORMED,
            f'expected Annex B, with a start code at its front, got {data[:6].hex()}…: a muxer for '
            'files puts lengths there; the bitstream filters h264_mp4toannexb and '
            'hevc_mp4toannexb bring the start codes back',
        )
    begin = first.end()
    for count, start in enumerate(starts, 2):
        _check_count(count)
        if start.start() > begin:
            yield data[begin : start.start()]
        begin = start.end()
    if len(data) > begin:
        yield data[begin:]


def _check_count(count: int) -> None:
    if count > MOST_UNITS:
        raise FrameError(
            DropReason.MALFORMED, f'a packet has more than {MOST_UNITS} units: it is no picture'
        )


def _plain(unit: bytes) -> Bits:
    """Return the beginning of a unit behind its first byte."""
    return Bits(ESCAPED.sub(b'\0\0', unit[1:LONGEST_HEAD]))


class H264Head:
    """Reads the packets of one H.264 stream; it remembers the stream's parameters."""

    IDR, SLICE, SEI, PARAMETERS = 5, 1, 6, 7
    HIGH = (100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135)
    """Profiles whose parameters say more of colours (H.264, 7.3.2.1.1)."""
    RECOVERY_POINT = 6

    def __init__(self) -> None:
        self._bits_of_number = 0
        self._separate_planes = self._gaps_are_meant = False
        self.most_numbers = 0
        """Frame numbers go from 0 to one less than this; 0: not known."""

    def read(self, data: bytes) -> PacketHead:
        """Return a packet's head.

        Raises:
            FrameError: ``malformed``: no Annex B.
        """
        key, whole, parameters, number, reference = False, False, b'', -1, False
        for unit in units(data):
            kind = unit[0] & 31
            if kind == self.PARAMETERS:
                parameters = unit
                self._read_parameters(unit)
            elif kind == self.SEI:
                key |= len(unit) > 1 and unit[1] == self.RECOVERY_POINT
            elif kind in (self.IDR, self.SLICE):
                whole |= kind == self.IDR
                if number < 0:
                    number, reference = self._number(unit), bool(unit[0] >> 5 & 3)
        return PacketHead(key or whole, whole, parameters, number, reference)

    def _read_parameters(self, unit: bytes) -> None:
        bits = _plain(unit)
        profile = bits.read(8)
        bits.read(16)
        bits.exp_golomb()
        self._separate_planes = False
        if profile in self.HIGH:
            chroma = bits.exp_golomb()
            self._separate_planes = chroma == 3 and bool(bits.read(1))
            bits.exp_golomb(), bits.exp_golomb(), bits.read(1)
            if bits.read(1):
                for i in range(12 if chroma == 3 else 8):
                    if bits.read(1):
                        _skip_scaling_list(bits, 16 if i < 6 else 64)
        self._bits_of_number = min(16, bits.exp_golomb() + 4)
        order = bits.exp_golomb()
        if order == 0:
            bits.exp_golomb()
        elif order == 1:
            bits.read(1), bits.signed(), bits.signed()
            for _ in range(min(255, bits.exp_golomb())):
                bits.signed()
        bits.exp_golomb()
        self.most_numbers = 1 << self._bits_of_number
        self._gaps_are_meant = bool(bits.read(1))

    def _number(self, unit: bytes) -> int:
        """Return ``frame_num`` of a slice's header (H.264, 7.3.3); -1 where gaps are allowed."""
        if not self._bits_of_number or self._gaps_are_meant:
            return -1
        bits = _plain(unit)
        bits.exp_golomb(), bits.exp_golomb(), bits.exp_golomb()
        if self._separate_planes:
            bits.read(2)
        return bits.read(self._bits_of_number)


def _skip_scaling_list(bits: Bits, size: int) -> None:
    last = following = 8
    for _ in range(size):
        if following:
            following = (last + bits.signed()) % 256
        last = following or last


def h265_head(data: bytes) -> PacketHead:
    """Return a packet's head; ITU-T H.265, 7.4.2.2 has the kinds of units.

    Raises:
        FrameError: ``malformed``: no Annex B.
    """
    key, parameters = False, b''
    for unit in units(data):
        kind = unit[0] >> 1 & 63
        key |= 16 <= kind <= 21
        parameters = unit if kind == 33 else parameters
    return PacketHead(key, key, parameters)


def vp9_head(data: bytes) -> PacketHead:
    """Return a packet's head (VP9 Bitstream Specification, 6.2)."""
    bits = Bits(data[:1])
    marker, low, high = bits.read(2), bits.read(1), bits.read(1)
    if marker != 2:
        raise FrameError(DropReason.MALFORMED, f'expected a frame of VP9, got {data[:4].hex()}…')
    if low and high:
        bits.read(1)
    shown_again, difference = bits.read(1), bits.read(1)
    key = not shown_again and not difference
    return PacketHead(key, key)


def av1_head(data: bytes) -> PacketHead:
    """Return a packet's head: a key frame comes with a sequence header (AV1, 5.3 and 7.5)."""
    at = count = 0
    while at < len(data):
        count += 1
        _check_count(count)
        head = data[at]
        if head & 0x80:
            raise FrameError(
                DropReason.MALFORMED, f'expected units of AV1, got {data[at : at + 4].hex()}…'
            )
        if head >> 3 & 15 == 1:
            return PacketHead(True, True)
        if not head & 2:  # without a size it is the last one
            break
        at += 2 if head & 4 else 1
        size = shift = 0
        while at < len(data):
            byte = data[at]
            size |= (byte & 127) << shift
            at, shift = at + 1, shift + 7
            if not byte & 128 or shift > 56:
                break
        at += size
    return PacketHead(False, False)


HEADS: dict[str, Callable[[], Callable[[bytes], PacketHead]]] = {
    'h264': lambda: H264Head().read,
    'h265': lambda: h265_head,
    'vp9': lambda: vp9_head,
    'av1': lambda: av1_head,
}
"""By codec, what makes a reader of one stream's packets."""
