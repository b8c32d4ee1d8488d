"""Bags in an object store: of MCAP files only what is asked for is read, of others a copy."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip('pyarrow', reason='the extra [fleet] is not installed')

import fsspec
from fleet_bags import HEIGHT, T0, WIDTH, damaged_bag, write_bag
from hypothesis import given
from hypothesis import strategies as st

from yolox_trt_ros.bags.reader import Bag
from yolox_trt_ros.fleet.find import find_bags
from yolox_trt_ros.fleet.index import index_bag
from yolox_trt_ros.fleet.stored_bag import StoredFile, opened_bag


class Source:
    """Answers reads as pyarrow's files do, and notes them."""

    def __init__(self, content: bytes) -> None:
        self.content, self.reads = content, list[tuple[int, int]]()

    def read_at(self, count: int, at: int) -> bytes:
        self.reads.append((at, count))
        return self.content[at : at + count]


@pytest.fixture
def store() -> Iterator[Any]:
    fs = fsspec.filesystem('memory')
    yield fs
    fs.rm('/', recursive=True)


@pytest.fixture
def fetched(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Count the bytes that are read of each file."""
    found: Counter[str] = Counter()
    real = StoredFile._fetched

    def counted(self: StoredFile, count: int, at: int) -> bytes:
        found[self.path.name] += count
        return real(self, count, at)

    monkeypatch.setattr(StoredFile, '_fetched', counted)
    return found


def put(fs: Any, folder: Path) -> None:
    fs.put(str(folder), f'/{folder.name}', recursive=True)


@given(
    st.binary(max_size=40_000),
    st.lists(st.tuples(st.integers(0, 50_000), st.integers(0, 9000)), max_size=20),
    st.integers(16, 4000),
)
def test_any_part_is_that_of_the_file(
    content: bytes, parts: list[tuple[int, int]], least: int
) -> None:
    file = StoredFile(Path('x'), source := Source(content), len(content))
    file._step = least
    for at, count in parts:
        assert file.read(count, at) == content[at : at + count]
    assert all(at + count <= len(content) for at, count in source.reads)


def test_reading_on_takes_fewer_requests() -> None:
    file = StoredFile(Path('x'), source := Source(bytes(4 << 20)), 4 << 20)
    for at in range(0, 4 << 20, 1000):
        file.read(9, at)
    assert len(source.reads) < 12


def noise(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)


def test_an_index_costs_a_part_of_the_file(
    tmp_path: Path, store: Any, fetched: Counter[str]
) -> None:
    bag = write_bag(tmp_path / 'big', images=30, make=noise, encodings=('bgr8', 'bgr8'))
    size = (file := next(bag.glob('*.mcap'))).stat().st_size
    put(store, bag)
    (found,) = find_bags(['memory://big'])
    indexed = index_bag(found, None)
    here = Bag(bag)
    assert (indexed.images, indexed.problem, indexed.warnings) == (60, '', ())
    assert (indexed.start_ns, indexed.end_ns) == (here.start_ns, here.end_ns)
    assert 0 < fetched[file.name] < size / 8
    fetched.clear()
    with opened_bag('memory://big') as there:
        first = (None, T0, T0 + 2 * 10**8)
        assert list(there.messages(*first)) == list(here.messages(*first)) != []
        assert fetched[file.name] < size / 2
        assert list(there.messages()) == list(here.messages())


@pytest.mark.parametrize('damage', ['cut in half', 'middle overwritten', 'end overwritten'])
def test_what_is_whole_of_a_damaged_one_is_read(tmp_path: Path, store: Any, damage: str) -> None:
    bag = damaged_bag(tmp_path / 'bag', damage)
    put(store, bag)
    said: list[str] = []
    with opened_bag('memory://bag', said.append) as there, Bag(bag, warn=lambda _: None) as here:
        assert list(there.messages()) == list(here.messages()) != []
        assert len(said) == len(here.warnings)


@pytest.mark.parametrize('kind', [('sqlite3', 'none'), ('mcap', 'file')])
def test_other_files_are_copied(tmp_path: Path, store: Any, kind: tuple[str, str]) -> None:
    bag = write_bag(tmp_path / 'bag', kind, images=3)
    put(store, bag)
    with opened_bag('memory://bag') as there, Bag(bag) as here:
        assert list(there.messages()) == list(here.messages()) != []


def test_what_cannot_be_read_is_named_as_it_is_there(tmp_path: Path, store: Any) -> None:
    put(store, damaged_bag(tmp_path / 'bag', 'a pointer'))
    (found,) = find_bags(['memory://bag'])
    assert index_bag(found, None).problem.startswith('bag.mcap: expected the folder of a bag')
