"""The command-line tools; each module has ``add_arguments(parser)`` and ``run(args) -> int``."""

from __future__ import annotations

import ast
import pkgutil
from pathlib import Path

_FOLDER = Path(__file__).parent


def names() -> list[str]:
    """Return the tools' names."""
    return sorted(
        m.name for m in pkgutil.iter_modules([str(_FOLDER)]) if not m.name.startswith('_')
    )


def description(name: str) -> str:
    """Return a tool's docstring without importing the tool."""
    source = (_FOLDER / f'{name}.py').read_text(encoding='utf-8')
    return ast.get_docstring(ast.parse(source)) or ''


def summary(name: str) -> str:
    """Return the first line of a tool's docstring."""
    return description(name).partition('\n')[0]
