"""The sections of darknet's ``.cfg``, and numbers in them."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path

from yolox_trt_ros.core.errors import ModelError
from yolox_trt_ros.core.printing import one_line, shown
from yolox_trt_ros.core.text_files import read_text

MOST_BYTES = 1 << 20
MOST_NUMBER = 1 << 16
"""Of a side, of channels, of anything that a cfg counts."""


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the file, such as ``[convolutional]``.

    Attributes:
        where: file, line and name, for errors.
        kind: its name.
        options: its keys; of a key that stands there twice, the first value counts.
    """

    where: str
    kind: str
    options: dict[str, str] = field(default_factory=dict)

    def text(self, key: str, default: str) -> str:
        """Return an option."""
        return self.options.get(key, default)

    def numbers(self, key: str, default: str) -> list[float]:
        """Return the numbers of an option, which commas part.

        Raises:
            ModelError: one is none.
        """
        text = self.text(key, default)
        try:
            found = [float(part) for part in text.split(',') if part]
        except ValueError:
            found = [math.nan]
        if not all(map(math.isfinite, found)):
            raise ModelError(f'{self.where}: {key}: expected numbers, got {shown(text)}')
        return found

    def number(self, key: str, default: float) -> float:
        """Return the number of an option.

        Raises:
            ModelError: it is none.
        """
        found = self.numbers(key, str(default))
        if len(found) != 1:
            raise ModelError(
                f'{self.where}: {key}: expected a number, got {shown(self.options[key])}'
            )
        return found[0]

    def count(self, key: str, default: int | None, least: int = 1) -> int:
        """Return the whole number of an option, at least ``least``.

        Raises:
            ModelError: it is none, too small or too large, or missing where there is no default.
        """
        if default is None and key not in self.options:
            raise ModelError(f'{self.where}: expected the key {key}, there is none')
        found = self.number(key, default or 0)
        if found != int(found) or not least <= found <= MOST_NUMBER:
            raise ModelError(
                f'{self.where}: {key}: expected a whole number from {least} to {MOST_NUMBER}, got '
                f'{shown(self.options.get(key, default))}'
            )
        return int(found)


def read_sections(path: Path) -> list[Section]:
    """Return the sections of a file.

    Raises:
        ModelError: it is missing, or a line is neither a section nor a key with its value.
    """
    text = read_text(path, ModelError, most_bytes=MOST_BYTES, what='a darknet cfg')
    sections: list[Section] = []
    for number, line in enumerate(text.splitlines(), 1):
        content = ''.join(line.split())
        if not content or content[0] in '#;':
            continue
        content = content.partition('#')[0]
        where = f'{one_line(path)}, line {number}'
        if content[0] == '[':
            if content[-1] != ']':
                raise ModelError(f'{where}: expected [the kind of a layer], got {shown(line)}')
            sections.append(Section(f'{where}, {one_line(content[:40])}', content[1:-1]))
            continue
        key, equals, value = content.partition('=')
        if not equals or not key or not sections:
            raise ModelError(
                f'{where}: expected [the kind of a layer] or key=value, got {shown(line)}'
            )
        sections[-1].options.setdefault(key, value)
    return sections
