"""Make foreign strings safe for terminals, logs and error messages."""

from __future__ import annotations

import re
from typing import Any

LONGEST = 80
"""Characters of a foreign value that an error message quotes."""
DEEPEST, WIDEST = 3, 6
"""Levels and items of a foreign value that an error message quotes."""

# C0 and C1 controls, DEL, line separators, marks that turn the direction of text, and what cannot
# be encoded: halves of pairs, which names of files that are not UTF-8 become in Python.
_UNPRINTABLE = re.compile(
    '[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069'
    '\ufeff\ud800-\udfff]'
)
_BREAKS = re.compile('[\t\n]')


def _escape(match: re.Match[str]) -> str:
    code = ord(match.group())
    if 0xDC80 <= code <= 0xDCFF:  # a byte that was not UTF-8
        code -= 0xDC00
    return {9: r'\t', 10: r'\n', 13: r'\r'}.get(
        code, f'\\x{code:02x}' if code < 0x100 else f'\\u{code:04x}'
    )


def printable(text: object) -> str:
    """Return text that moves no cursor and ends no log: controls are written out.

    Line ends and tabs stay, so this is for whole messages; what a message quotes goes through
    :func:`one_line` or :func:`shown`.
    """
    return _UNPRINTABLE.sub(_escape, str(text))


def one_line(text: object) -> str:
    """Return :func:`printable` text without line ends and tabs: nothing in it can fake a line."""
    return _BREAKS.sub(_escape, printable(text))


def shown(value: Any, longest: int = LONGEST) -> str:
    """Return a value from a file or message as an error quotes it: printable, one line, short."""
    text = _shown(value, DEEPEST)
    return text if len(text) <= longest else f'{text[: longest - 1]}…'


def _shown(value: Any, levels: int) -> str:
    if isinstance(value, str):
        quoted = one_line(value[:LONGEST])
        most = LONGEST - 3  # and quotes and dots
        return (
            f'"{quoted}"'
            if len(value) == len(value[:LONGEST]) and len(quoted) <= most
            else (f'"{quoted[:most]}…"')
        )
    if isinstance(value, int) and not isinstance(value, bool) and value.bit_length() > 128:
        return f'a number of {value.bit_length()} bits'
    if isinstance(value, dict):
        if not levels:
            return '{…}'
        rows = [
            f'{_shown(k, levels - 1)}: {_shown(v, levels - 1)}'
            for k, v in list(value.items())[:WIDEST]
        ]
        return f'{{{", ".join(rows)}{", …" if len(value) > WIDEST else ""}}}'
    if isinstance(value, (list, tuple)):
        if not levels:
            return '[…]'
        items = [_shown(v, levels - 1) for v in value[:WIDEST]]
        return f'[{", ".join(items)}{", …" if len(value) > WIDEST else ""}]'
    return one_line(repr(value))
