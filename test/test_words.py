"""Names use the words of CONTRIBUTING's glossary, and none that it refuses."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FILES = [
    file
    for folder in ('yolox_trt_ros', 'benchmarks', 'test')
    for file in (ROOT / folder).rglob('*.py')
]


def refused() -> list[str]:
    """Return the words of the glossary's third column."""
    glossary = (ROOT / 'CONTRIBUTING.md').read_text().partition('\n## Words\n')[2]
    rows = [line for line in glossary.partition('\n## ')[0].splitlines() if line.startswith('| ')]
    return [word for row in rows for word in re.findall('`([^`]+)`', row.rsplit('|', 2)[1])]


def name_of(node: ast.AST) -> str:
    """Return the name that a node defines; empty: none."""
    match node:
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            return node.name
        case ast.arg():
            return node.arg
        case ast.Name(ctx=ast.Store()):
            return node.id
        case ast.Attribute(ctx=ast.Store()):
            return node.attr
    return ''


@pytest.fixture(scope='module')
def defined() -> dict[str, list[tuple[str, bool]]]:
    """Return the places of every name that is defined, and whether it is that of a class."""
    found = defaultdict(list)
    for file in FILES:
        place = str(file.relative_to(ROOT))
        found[file.stem].append((place, False))
        for node in ast.walk(ast.parse(file.read_text())):
            if name := name_of(node):
                found[name].append((f'{place}:{node.lineno}', isinstance(node, ast.ClassDef)))
    return found


def spelt(name: str) -> str:
    """Return a name in lower case with underscores around each of its words."""
    return f'_{re.sub("(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()}_'


def test_no_name_has_a_refused_word(defined: dict[str, list[tuple[str, bool]]]) -> None:
    words = refused()
    assert {'way', 'told', 'page_locks'} <= set(words)
    found = {
        name: [place for place, _ in places]
        for name, places in defined.items()
        if any(f'_{word}_' in spelt(name) for word in words)
    }
    assert not found, 'see CONTRIBUTING.md, Words'


def test_no_class_name_is_used_twice(defined: dict[str, list[tuple[str, bool]]]) -> None:
    classes = {
        name: [place for place, is_class in places if is_class and place.startswith('yolox')]
        for name, places in defined.items()
    }
    assert not {name: places for name, places in classes.items() if len(places) > 1}
