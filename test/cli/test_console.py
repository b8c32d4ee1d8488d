"""Foreign strings on the console of the tools."""

from __future__ import annotations

import io

import pytest
from rich.table import Table

from yolox_trt_ros.cli.console import Console, Text


@pytest.mark.parametrize(
    'name', ['a[/b]', '[bold]x', '[link=http://x]y', ':boom:', 'a\x1b[31mb\x07']
)
def test_what_is_printed_is_text(name: str) -> None:
    out = io.StringIO()
    console = Console(file=out, force_terminal=False, width=200)
    table = Table(name, title=name)
    table.add_row(name)
    console.print(name)
    console.print(table)
    console.print(Text.assemble(('ok', 'green'), ' fine'))
    shown = name.replace('\x1b', r'\x1b').replace('\x07', r'\x07')
    assert out.getvalue().count(shown) == 4
    assert '\x1b' not in out.getvalue() and '\x07' not in out.getvalue()
