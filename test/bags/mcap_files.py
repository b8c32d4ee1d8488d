"""MCAP files made record by record, right or wrong."""

from __future__ import annotations

import struct
import sys
from collections.abc import Iterable, Mapping
from zlib import crc32

import lz4.frame

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

MAGIC = b'\x89MCAP0\r\n'
PACKERS = {'': bytes, 'zstd': zstd.compress, 'lz4': lz4.frame.compress}


def record(op: int, *parts: bytes) -> bytes:
    body = b''.join(parts)
    return struct.pack('<BQ', op, len(body)) + body


def block(data: bytes | str) -> bytes:
    raw = data.encode('utf-8', 'surrogateescape') if isinstance(data, str) else data
    return struct.pack('<I', len(raw)) + raw


def header(profile: str = 'ros2') -> bytes:
    return MAGIC + record(1, block(profile), block('made by hand'))


def schema(number: int, name: str, encoding: str, text: str) -> bytes:
    return record(3, struct.pack('<H', number), block(name), block(encoding), block(text))


def channel(
    number: int,
    schema_id: int,
    topic: str,
    encoding: str = 'cdr',
    words: Mapping[str, str] | None = None,
) -> bytes:
    pairs = b''.join(block(k) + block(v) for k, v in (words or {}).items())
    ids = struct.pack('<HH', number, schema_id)
    return record(4, ids, block(topic), block(encoding), block(pairs))


def message(number: int, t_ns: int, data: bytes) -> bytes:
    return record(5, struct.pack('<HIQQ', number, 0, t_ns, t_ns), data)


def chunk(
    records: bytes,
    start_ns: int,
    end_ns: int,
    codec: str = '',
    size: int | None = None,
    crc: int | None = None,
    packed: bytes | None = None,
) -> bytes:
    packed = PACKERS[codec](records) if packed is None else packed
    crc = crc32(records) if crc is None else crc
    head = struct.pack('<QQQI', start_ns, end_ns, len(records) if size is None else size, crc)
    return record(6, head, block(codec), struct.pack('<Q', len(packed)), packed)


def chunks(
    messages: Iterable[tuple[str, int, bytes]], codec: str = '', per_chunk: int = 10
) -> list[bytes]:
    """Return chunks of messages of std_msgs/msg/String; each describes its topics again."""
    todo = list(messages)
    names = sorted({topic for topic, _, _ in todo})
    describe = schema(1, 'std_msgs/msg/String', 'ros2msg', 'string data\n')
    describe += b''.join(channel(i + 1, 1, name) for i, name in enumerate(names))
    made = []
    for first in range(0, len(todo), per_chunk):
        part = todo[first : first + per_chunk]
        inside = b''.join(message(names.index(t) + 1, t_ns, cdr) for t, t_ns, cdr in part)
        times = [t_ns for _, t_ns, _ in part]
        made.append(chunk(describe + inside, min(times), max(times), codec))
    return made


def end() -> bytes:
    """Return the end of a file without an index."""
    return record(15, bytes(4)) + record(2, bytes(20)) + MAGIC
