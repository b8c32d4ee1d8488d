"""Unpack zstd, lz4 and bz2 with limits, without trusting the sizes that they declare."""

from __future__ import annotations

import bz2
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from yolox_trt_ros.bags.limits import MIB, Limits
from yolox_trt_ros.bags.rosbags_library import lz4_frame, zstd
from yolox_trt_ros.core.errors import BagError

ZSTD_MAGIC = b'\x28\xb5\x2f\xfd'
CODECS: dict[str, Callable[[], Any]] = {
    'zstd': zstd.ZstdDecompressor,
    'lz4': lz4_frame.LZ4FrameDecompressor,
    'bz2': bz2.BZ2Decompressor,
}
STEP_BYTES = 32 * MIB
"""Unpacked in one go: a Ctrl-C waits no longer than that."""
READ_BYTES = 1 * MIB


class DamageError(Exception):
    """Bytes that are not what they should be; the message says what was found."""


def unpack(data: bytes | memoryview, codec: str, size: int | None, limits: Limits) -> bytes:
    """Return unpacked bytes, or as many of them as there are where the data end early.

    Args:
        data: packed.
        codec: a key of :data:`CODECS`; an empty string returns the data.
        size: of what is unpacked, as the bag says; None: unknown.
        limits: of the bag.

    Raises:
        DamageError: this is no such data, or they unpack to more than ``size``.
        BagError: they take more memory than the limit.
    """
    if not codec:
        return bytes(data)
    if codec not in CODECS:
        raise DamageError(f'unknown compression "{codec}"; known are {", ".join(CODECS)}')
    most = min(limits.memory_bytes, sys.maxsize if size is None else size)
    parts: list[bytes] = []
    count = 0
    unpacker = CODECS[codec]()
    try:
        while not unpacker.eof:
            part = unpacker.decompress(data, min(STEP_BYTES, most + 1 - count))
            data = b''
            if not part and unpacker.needs_input:
                break
            parts.append(part)
            count += len(part)
            if count > most:
                limits.check_memory(count, 'one unpacked chunk or message')
                raise DamageError(f'unpacks to more than the {size} bytes that it declares')
    except (zstd.ZstdError, RuntimeError, OSError, EOFError, ValueError) as error:
        raise DamageError(f'is not valid {codec}: {error}') from error
    return parts[0] if len(parts) == 1 else b''.join(parts)


def unpack_file(source: Path, target: Path, limits: Limits) -> bool:
    """Unpack a zstd file; return whether it is whole. What there is lies in ``target`` either way.

    Raises:
        DamageError: this is no zstd from its start.
        BagError: it takes more disk than the limit, or cannot be written.
    """
    limit, count = limits.disk_for(source), 0
    unpacker = zstd.ZstdDecompressor()
    try:
        with source.open('rb') as packed, target.open('wb') as out:
            while data := packed.read(READ_BYTES):
                while True:
                    if unpacker.eof:  # one frame behind the other
                        data, unpacker = unpacker.unused_data + data, zstd.ZstdDecompressor()
                    part = unpacker.decompress(data, STEP_BYTES)
                    count += len(part)
                    if count > limit:
                        raise limits.disk_error(source, limit)
                    out.write(part)
                    data = b''
                    if unpacker.needs_input or (unpacker.eof and not unpacker.unused_data):
                        break
    except zstd.ZstdError as error:
        if not count:
            raise DamageError(f'is not valid zstd: {error}') from error
        return False
    except OSError as error:
        raise BagError(f'{source}: cannot be unpacked to {target.parent}: {error}') from error
    return bool(unpacker.eof)
