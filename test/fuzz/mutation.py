"""Damage that fits any file or message."""

from __future__ import annotations

import random
import struct

NUMBERS = (0, 1, 2, 9, 255, 2**15, 2**16, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**63 - 1, 2**64 - 1)
TEXTS = (
    '', 'front', 'a' * 5000, '/', '../../x', '/\x1b[31m', '\udcff', 'ä\n', '\0', '[/b]', '9' * 5000,
    '-1', '1e999', 'nan', '٣', '<script>', '{camera}', '~', '%s', '\u202e', 'cameras.front.topic',
)  # fmt: skip
ODD = (
    None, True, False, 0, 1, -1, 2**31, 2**63, 10**30, 0.5, -0.0, 1e308, float('inf'),
    float('-inf'), float('nan'), b'', b'\xff', [], [1], [[]], ['a', 1], [0.5], {}, {'a': 1},
    {1: 2}, *TEXTS,
)  # fmt: skip


def damaged(raw: bytes, source: random.Random) -> bytes:
    """Return bytes cut, turned over, with other numbers, repeated or put together anew."""
    data = bytearray(raw)
    for _ in range(source.choice((1, 1, 1, 2, 4, 16))):
        at = source.randrange(len(data) + 1)
        kind = source.randrange(8)
        if kind == 0:
            del data[at:]
        elif kind == 1 and at < len(data):
            data[at] ^= 1 << source.randrange(8)
        elif kind in (2, 3):
            form = source.choice(('<I', '<Q', '>I', '<H', '>H'))
            limit = 256 ** struct.calcsize(form)
            number = source.choice((*NUMBERS, len(data), len(data) - at, at)) % limit
            data[at : at + struct.calcsize(form)] = struct.pack(form, number)
        elif kind == 4:
            data[at:at] = source.randbytes(source.randrange(1, 60))
        elif kind == 5:
            del data[at : at + source.randrange(1, 400)]
        elif kind == 6:
            other = source.randrange(len(data) + 1)
            data[at:at] = data[other : other + source.randrange(1, 2000)]
        else:
            data[at : at + 200] = bytes(len(data[at : at + 200]))
    return bytes(data)


def odd_value(source: random.Random) -> object:
    """Return a value that is mostly of the wrong type."""
    if source.random() < 0.2:
        return source.choice((1, -1)) * source.choice(NUMBERS)
    if source.random() < 0.1:
        return [source.choice(ODD) for _ in range(source.randrange(1, 20))]
    return source.choice(ODD)


def altered(content: object, source: random.Random) -> object:
    """Return nested lists and mappings in which some value is odd, missing, doubled or moved."""
    if isinstance(content, dict) and content and source.random() < 0.9:
        changed = dict(content)
        key = source.choice(list(changed))
        kind = source.randrange(10)
        if kind == 0:
            del changed[key]
        elif kind == 1:
            changed[source.choice(TEXTS)] = changed.pop(key)
        elif kind == 2:
            changed[key] = source.choice(list(content.values()))
        else:
            changed[key] = altered(changed[key], source)
        return changed
    if isinstance(content, list) and content and source.random() < 0.9:
        items = list(content)
        at = source.randrange(len(items))
        kind = source.randrange(10)
        if kind == 0:
            del items[at]
        elif kind == 1:
            items *= source.randrange(2, 5)
        else:
            items[at] = altered(items[at], source)
        return items
    return odd_value(source)
