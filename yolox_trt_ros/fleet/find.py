"""Find bags by path, pattern, manifest or prefix, without opening them."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from yolox_trt_ros.bags.metadata import NAME as METADATA
from yolox_trt_ros.bags.parts import PACKED, PART, SUFFIXES, UNFINISHED
from yolox_trt_ros.core.errors import ConfigError
from yolox_trt_ros.core.printing import one_line
from yolox_trt_ros.fleet.packages import package
from yolox_trt_ros.fleet.store import SCHEME, Store, filesystem_of, is_remote, refuse_keys
from yolox_trt_ros.video.files import SUFFIXES as VIDEOS

MANIFESTS = ('.csv', '.txt')
PATTERN = set('*?[')
BAG_COLUMN = 'bag'
MOST_SAID = 5
"""Entries of a manifest that are named in an error."""


@dataclass(frozen=True, slots=True)
class FoundBag:
    """A bag that was named or found.

    Attributes:
        uri: absolute path, or URI, of its folder or its one file.
        size: bytes of its files; 0 where nothing is there.
        conditions: what the manifest says of it, such as ``{'weather': 'rain'}``.
    """

    uri: str
    size: int = 0
    conditions: Mapping[str, str] = field(default_factory=dict)


def find_bags(names: Sequence[str]) -> list[FoundBag]:
    """Return the bags that the arguments of a command line mean, each once, in their order.

    Args:
        names: each a bag, a folder or prefix with bags anywhere below, a pattern, or a manifest:
            a ``.txt`` of one name a line, or a ``.csv`` whose column ``bag`` has the names and
            whose other columns are conditions.

    Raises:
        ConfigError: one means no bag; a manifest cannot be read.
    """
    found: dict[str, FoundBag] = {}
    for name in names:
        if _split(name)[0].endswith(MANIFESTS):
            for bag in _of_manifest(name):
                found.setdefault(bag.uri, bag)
        else:
            bags = _named(name)
            if not bags:
                raise ConfigError(
                    f'{one_line(name)}: expected a bag, a folder or prefix with bags, a pattern or '
                    'a manifest (.txt, .csv); there is none'
                )
            for bag in bags:
                found.setdefault(bag.uri, bag)
    return list(found.values())


def _of_manifest(name: str) -> list[FoundBag]:
    """Return the bags of a manifest, each of whose entries has to mean one."""
    entries = _manifest(name)
    found: list[FoundBag] = []
    nothing: list[str] = []
    for entry, conditions in entries:
        bags = _named(entry)
        found += [FoundBag(bag.uri, bag.size, conditions) for bag in bags]
        if not bags:
            nothing.append(entry)
    if nothing:
        more = f' and {len(nothing) - MOST_SAID} more' if len(nothing) > MOST_SAID else ''
        raise ConfigError(
            f'{one_line(name)}: {len(nothing)} of {len(entries)} entries mean no bag: '
            f'{", ".join(map(one_line, nothing[:MOST_SAID]))}{more}'
        )
    if not found:
        raise ConfigError(f'{one_line(name)}: expected names of bags, there are none')
    return found


def _manifest(name: str) -> list[tuple[str, dict[str, str]]]:
    """Return names of bags and conditions; relative names are beside the manifest."""
    plain, options = _split(name)
    folder, _, last = plain.rpartition('/')
    store = Store((folder or ('/' if plain[0] == '/' else '.')) + options)
    raw = store.read(last)
    if raw is None:
        raise ConfigError(f'{one_line(name)}: there is no such manifest')
    try:
        text = raw.decode('utf-8-sig')
    except UnicodeDecodeError as error:
        raise ConfigError(f'{one_line(name)}: expected UTF-8: {error}') from error

    def absolute(entry: str) -> str:
        if SCHEME.match(entry) or entry[0] == '/':
            return entry
        return f'{_split(store.uri)[0].rstrip("/")}/{entry}{options}'

    if plain.endswith('.txt'):
        lines = (line.strip() for line in text.splitlines())
        return [(absolute(line), {}) for line in lines if line and line[0] != '#']
    reader = csv.DictReader(io.StringIO(text))
    if BAG_COLUMN not in (reader.fieldnames or ()):
        raise ConfigError(
            f'{one_line(name)}: expected a column "{BAG_COLUMN}", got '
            f'{one_line(", ".join(reader.fieldnames or ["nothing"]))}'
        )
    rows = []
    for row in reader:
        if entry := (row.pop(BAG_COLUMN) or '').strip():
            said = {k: v.strip() for k, v in row.items() if isinstance(k, str) and v and v.strip()}
            rows.append((absolute(entry), said))
    return rows


def _named(name: str) -> list[FoundBag]:
    """Return the bags that one name means; one that does not exist is a bag of 0 bytes."""
    refuse_keys(name)
    plain, options = _split(name)
    if PATTERN & set(plain):
        return _matching(plain, options)
    fs, path = filesystem_of(name)
    info = fs.get_file_info(path.rstrip('/'))
    if info.is_file:
        return [FoundBag(_uri(name, info.path), info.size)]
    types = package('pyarrow.fs').FileType
    if info.type == types.NotFound:
        return [FoundBag(_uri(name, info.path))] if path.lower().endswith(SUFFIXES + VIDEOS) else []
    return [bag for bag, _ in _below(name, fs, info.path)]


def _split(name: str) -> tuple[str, str]:
    """Return a name without the options of its URI, and these; locally ``?`` is of a pattern."""
    plain, mark, options = name.partition('?') if is_remote(name) else (name, '', '')
    return plain, mark + options


def _matching(pattern: str, options: str) -> list[FoundBag]:
    """Return the bags that match, a file of which does, or which lie in folders that do."""
    parts = pattern.rstrip('/').split('/')
    fixed = next(i for i, part in enumerate(parts) if PATTERN & set(part))
    base = ('/'.join(parts[:fixed]) or ('/' if pattern[0] == '/' else '.')) + options
    fs, path = filesystem_of(base)

    def fits(file: str) -> bool:
        names = file.removeprefix(path).strip('/').split('/')
        return any(_fits(names[:end], parts[fixed:]) for end in range(1, len(names) + 1))

    return [bag for bag, files in _below(base, fs, path) if any(map(fits, files))]


def _fits(names: Sequence[str], pattern: Sequence[str]) -> bool:
    """Return whether a path fits a pattern, name by name; ``**`` is any number of folders."""
    if not pattern:
        return not names
    if pattern[0] == '**':
        return any(_fits(names[i:], pattern[1:]) for i in range(len(names) + 1))
    return bool(names) and fnmatchcase(names[0], pattern[0]) and _fits(names[1:], pattern[1:])


def _below(name: str, fs: Any, path: str) -> list[tuple[FoundBag, list[str]]]:
    """Return the bags in a folder and below it, each with the paths of its files."""
    selector = package('pyarrow.fs').FileSelector(path, recursive=True, allow_not_found=True)
    folders: dict[str, dict[str, int]] = {}
    for info in fs.get_file_info(selector):
        if info.is_file:
            folder, _, last = info.path.rpartition('/')
            if last == METADATA or _is_bag(last):
                folders.setdefault(folder, {})[last] = info.size
    found: list[tuple[FoundBag, list[str]]] = []
    for folder, files in sorted(folders.items()):
        if _one_bag(folder, files):
            bag = FoundBag(_uri(name, folder), sum(files.values()))
            found.append((bag, [f'{folder}/{file}' for file in files]))
        else:
            paths = [f'{folder}/{file}' for file in sorted(files)]
            sizes = [files[file] for file in sorted(files)]
            found += [(FoundBag(_uri(name, p), n), [p]) for p, n in zip(paths, sizes, strict=True)]
    return found


def _is_bag(name: str) -> bool:
    for end in PACKED:
        name = name.removesuffix(end)
    return name.removesuffix(UNFINISHED).endswith(SUFFIXES) or _is_video(name)


def _is_video(name: str) -> bool:
    return name.lower().endswith(VIDEOS)


def _one_bag(folder: str, files: Mapping[str, int]) -> bool:
    """Return whether the files of a folder are the parts of one bag.

    They are where metadata.yaml says so, and where each is called after the folder, as rosbag2
    calls parts: a recording that was interrupted has no metadata. Else each is a bag of its own.
    """
    if METADATA in files:
        return True
    if any(map(_is_video, files)):
        return False
    called = folder.rpartition('/')[2]
    parts = [PART.fullmatch(name.partition('.')[0]) for name in files]
    return all(part and part[1] == called for part in parts)


def _uri(name: str, path: str) -> str:
    """Return how a path in the store of ``name`` is called from anywhere."""
    if not is_remote(name):
        return path
    return f'{name.partition("://")[0]}://{path}{_split(name)[1]}'
