"""The console of the tools, which prints foreign text without markup or control characters.

Names of layers, topics and files are somebody else's: ``[/b]`` in one of them would end rich's own
markup with an error, and an escape sequence would reach the terminal. Where a tool wants colour, it
says so with ``rich.text.Text``.
"""

from __future__ import annotations

from typing import Any

from rich.console import Console as RichConsole
from rich.text import Text

from yolox_trt_ros.core.printing import printable


class Console(RichConsole):
    """A console that takes strings, in tables too, as they are."""

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, emoji=False, **options)

    def render_str(self, text: str, **options: Any) -> Text:
        """Return a string as rich draws it, without control characters and without markup."""
        return super().render_str(printable(text), **{**options, 'markup': False, 'emoji': False})


__all__ = ['Console', 'Text']
