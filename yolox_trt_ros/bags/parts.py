"""Find the files of a bag and the format of each."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from yolox_trt_ros.bags import mcap_records, ros1, sqlite_pages
from yolox_trt_ros.bags.limits import Limits
from yolox_trt_ros.bags.mcap import McapFile
from yolox_trt_ros.bags.metadata import NAME, Metadata, read_metadata
from yolox_trt_ros.bags.names import full_name, plain
from yolox_trt_ros.bags.packing import ZSTD_MAGIC, DamageError, unpack_file
from yolox_trt_ros.bags.ros1 import Ros1File
from yolox_trt_ros.bags.sqlite import SqliteFile
from yolox_trt_ros.bags.storage import OpenFile, RegularFile, Storage, Warn
from yolox_trt_ros.bags.video_file import VideoStorage
from yolox_trt_ros.core.errors import BagError
from yolox_trt_ros.video.files import SUFFIXES as VIDEOS

SUFFIXES = ('.mcap', '.db3', '.bag')
PACKED = ('.zstd', '.zst')
UNFINISHED = '.active'
MOST_FILES = 10_000
PART = re.compile(r'(.*)_(\d{1,6})')
EXPECTED = (
    'expected the folder of a bag, a .mcap, .db3 or .bag file of one, zstd or not, or a video'
)
KNOWN = {
    b'version https://git-lfs': 'it is a Git LFS pointer; "git lfs pull" fetches the file',
    b'\x1f\x8b': 'it is gzip; "gunzip" unpacks it',
    b'PK\x03\x04': 'it is a zip archive; "unzip" unpacks it',
    b'7z\xbc\xaf': 'it is a 7z archive; "7z x" unpacks it',
    b'BZh': 'it is bzip2; "bunzip2" unpacks it',
    b'\xfd7zXZ': 'it is xz; "unxz" unpacks it',
    b'\x04"M\x18': 'it is lz4; "lz4 -d" unpacks it',
    b'rosbag2_bagfile_information': 'it is the metadata of a bag; give the folder',
}


class Parts(NamedTuple):
    """The files of a bag.

    Attributes:
        files: open, in the order of their times.
        metadata: what metadata.yaml says, if there is one that can be read.
        packed: whether files were zstd.
    """

    files: list[Storage]
    metadata: Metadata | None
    packed: bool


def open_parts(
    path: Path, limits: Limits, warn: Warn, stack: ExitStack, open_file: OpenFile = RegularFile
) -> Parts:
    """Open the files of a bag; those that cannot be read are reported and left out.

    Args:
        path: the bag's folder, or one file.
        limits: what reading it may take.
        warn: called with what is missing or wrong.
        stack: closes the files.
        open_file: opens each to read parts of it.

    Raises:
        BagError: no file of it can be read.
    """
    metadata: Metadata | None = None
    if path.is_dir():
        metadata = _metadata(path, warn)
        files = _files_of(path, metadata, warn)
    else:
        files = [path]
    opened: list[Storage] = []
    problems: list[str] = []
    packed = False
    for file in files:
        try:
            content = _unpacked(file, limits, warn, stack, open_file)
            packed |= content != file
            storage = _open(content, limits, warn, open_file if content == file else RegularFile)
        except DamageError as error:
            problems.append(f'{file}: {error}')
            continue
        stack.callback(storage.close)
        opened.append(storage)
    if not opened:
        there = f'; topics that it names: {_listed(metadata)}' if metadata else ''
        raise BagError('; '.join(problems) + there)
    for problem in problems:
        warn(f'{problem}; it is left out')
    return Parts(_ordered(opened, warn), metadata, packed)


def _listed(metadata: Metadata) -> str:
    topics = metadata.topics.items()
    return ', '.join(f'{plain(name)} ({plain(full_name(kind))})' for name, (kind, _) in topics)


def _metadata(folder: Path, warn: Warn) -> Metadata | None:
    try:
        return read_metadata(folder)
    except FileNotFoundError:
        warn(
            f'{folder}: has no {NAME}, as when a recording was interrupted: all bag files of the '
            'folder are read'
        )
    except DamageError as error:
        warn(f'{folder / NAME}: {error}; all bag files of the folder are read instead')
    return None


def _files_of(folder: Path, metadata: Metadata | None, warn: Warn) -> list[Path]:
    """Return the files of a bag that are there.

    Raises:
        BagError: there are none.
    """
    there = {file.name: file for file in _bag_files(folder)}
    if not there:
        raise BagError(f'{folder}: {_nothing(folder)}')
    named = list(dict.fromkeys(metadata.files)) if metadata else []
    missing = [name for name in named if not _found(name, there)]
    more = [name for name in there if name not in {_found(n, there) for n in named}]
    if named and not missing:
        if more:
            warn(f'{folder}: {_list(more)} are not listed in its {NAME} and are left out')
        return [there[_found(name, there)] for name in named]
    if missing:
        instead = f'; {_list(more)}, which it does not name, are read instead' if more else ''
        warn(f'{folder}: {_list(missing)}, which {NAME} names, are missing{instead}')
    elif gaps := _gaps(list(there)):
        warn(f'{folder}: parts {_list(gaps)} seem to be missing')
    return list(there.values())


def _found(name: str, there: Sequence[str] | dict[str, Path]) -> str:
    """Return a file of a name, packed or unpacked; an empty string if there is none."""
    bare = _bare(name)
    return next((n for n in (name, bare, *(bare + end for end in PACKED)) if n in there), '')


def _bare(name: str) -> str:
    return next((name[: -len(end)] for end in PACKED if name.endswith(end)), name)


def _bag_files(folder: Path) -> Iterator[Path]:
    """Yield the files of a folder whose names are those of bags; a packed one if it is alone."""
    try:
        found = sorted(folder.iterdir(), key=lambda file: _natural(file.name))
    except OSError as error:
        raise BagError(f'{folder}: cannot be read: {error.strerror}') from error
    names = {file.name for file in found}
    count = 0
    videos: list[Path] = []
    for file in found:
        bare = _bare(file.name)
        if bare != file.name and bare in names:
            continue
        if bare.removesuffix(UNFINISHED).endswith(SUFFIXES):
            count += 1
            if count > MOST_FILES:
                raise BagError(f'{folder}: holds more than {MOST_FILES} bag files')
            yield file
        elif file.suffix.lower() in VIDEOS:
            videos.append(file)
    if not count:  # beside a recording, a video is something else
        yield from videos


def _natural(name: str) -> list[tuple[int, str]]:
    """Return a key that sorts numbers in names by their value."""
    return [(int(part[:18]) if part.isdecimal() else -1, part) for part in re.split(r'(\d+)', name)]


def _nothing(folder: Path) -> str:
    inside = sorted(p.parent.name for p in folder.glob(f'*/{NAME}'))
    if inside:
        return f'is not a bag, but contains bags: {_list(inside)}; give one of them'
    return 'A bag is a folder with metadata.yaml and .mcap or .db3 files; none of them is there'


def _gaps(names: Sequence[str]) -> list[str]:
    """Return the parts that are missing in between, by their numbers."""
    parts: dict[str, list[int]] = {}
    for name in names:
        if match := PART.fullmatch(name.partition('.')[0]):
            parts.setdefault(match[1], []).append(int(match[2]))
    return [
        f'{base}_{number}'
        for base, numbers in parts.items()
        if max(numbers) < MOST_FILES
        for number in sorted({*range(max(numbers))} - {*numbers})
    ]


def _list(names: Sequence[str], most: int = 5) -> str:
    words = ', '.join(map(plain, names[:most]))
    return words if len(names) <= most else f'{words} and {len(names) - most} more'


def _unpacked(
    file: Path, limits: Limits, warn: Warn, stack: ExitStack, open_file: OpenFile
) -> Path:
    """Return the file, or where it is unpacked."""
    source = open_file(file)
    try:
        begin = source.read(len(ZSTD_MAGIC), 0)
    finally:
        source.close()
    if begin != ZSTD_MAGIC:
        return file
    folder = stack.enter_context(tempfile.TemporaryDirectory(prefix='yolox_trt_ros_bag_'))
    target = Path(folder, _bare(file.name))
    if not unpack_file(file, target, limits):
        warn(f'{file}: ends early or is damaged; what unpacks of it is read')
    return target


def _open(file: Path, limits: Limits, warn: Warn, open_file: OpenFile) -> Storage:
    """Open a file as what it is, whatever its name.

    Raises:
        DamageError: it is no bag.
    """
    source = open_file(file)
    try:
        begin = source.read(64, 0)
    finally:
        source.close()
    if begin.startswith(mcap_records.MAGIC):
        return McapFile(file, limits, warn, open_file)
    if begin.startswith(sqlite_pages.MAGIC):
        return SqliteFile(file, limits, warn)
    if begin.startswith(ros1.MAGIC):
        return Ros1File(file, limits, warn)
    if not begin:
        raise DamageError('is empty')
    if file.suffix.lower() in VIDEOS:
        return VideoStorage(file, limits, warn)
    for magic, words in KNOWN.items():
        if begin.startswith(magic):
            raise DamageError(f'{EXPECTED}; {words}')
    raise DamageError(f'{EXPECTED}; this begins with {plain(begin[:16])}')


def _ordered(files: list[Storage], warn: Warn) -> list[Storage]:
    """Return the files in the order of their times, without copies of each other."""
    kept: dict[object, Storage] = {}
    for file in files:
        contents = file.contents
        counts = tuple(sorted((t.name, t.count) for t in contents.topics.values()))
        size = file.path.stat().st_size
        key = (size, contents.start_ns, contents.end_ns, counts) if contents.count else file.path
        if key in kept:
            warn(f'{file.path}: holds the same as {kept[key].path.name}: left out')
        else:
            kept[key] = file
    return sorted(kept.values(), key=lambda file: file.contents.start_ns)
