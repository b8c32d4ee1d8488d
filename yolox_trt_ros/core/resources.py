"""Find the files that ship with the package, and the folder of those that it makes and keeps."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from yolox_trt_ros.core.errors import ConfigError

PACKAGE = 'yolox_trt_ros'


def resource_folders(kind: str) -> list[Path]:
    """Return the existing folders ``kind``: of this package, then of other ROS installations."""
    return [root / kind for root in dict.fromkeys(_roots()) if (root / kind).is_dir()]


def _roots() -> Iterator[Path]:
    file = Path(__file__).resolve()
    yield file.parents[2]  # the source tree
    # Above the installed package lies the prefix that pip, colcon or a target folder put it into.
    yield from (folder / 'share' / PACKAGE for folder in file.parents)
    prefixes = os.environ.get('AMENT_PREFIX_PATH', '').split(os.pathsep)
    yield from (Path(prefix) / 'share' / PACKAGE for prefix in prefixes if prefix)


def package_version() -> str:
    """Return this package's version, which package.xml alone says.

    Raises:
        ConfigError: the file is missing or names none.
    """
    for root in _roots():
        file = root / 'package.xml'
        text = file.read_text('utf-8') if file.is_file() else ''
        found = re.search(rf'<name>{PACKAGE}</name>\s*<version>(.+?)</version>', text)
        if found:
            return found.group(1)
    raise ConfigError(
        f'expected share/{PACKAGE}/package.xml beside the installed package, got none: install it '
        f'with pip or colcon, not by copying'
    )


def find_resource(kind: str, name: str, suffix: str = '') -> Path:
    """Return the file a user means by a path or by the bare name of a packaged file.

    Args:
        kind: folder of the packaged files, such as ``models`` or ``config/vehicles``.
        name: a path, or a packaged file's name with or without ``suffix``.
        suffix: such as ``.onnx``.

    Returns:
        An existing file if there is one, otherwise ``name`` as a path.
    """
    path = Path(name).expanduser()
    if path.is_file() or '/' in name:  # ./x is a path, though Path drops the dot
        return path
    for folder in resource_folders(kind):
        for candidate in (folder / name, folder / (name + suffix)):
            if candidate.is_file():
                return candidate
    return path


def cache_folder(kind: str) -> Path:
    """Return where files of one kind are kept, after the XDG base directory specification."""
    base = os.environ.get('XDG_CACHE_HOME') or '~/.cache'
    return Path(base).expanduser() / PACKAGE / kind


def resource_names(kind: str, suffix: str) -> list[str]:
    """Return the names, without ``suffix``, of the packaged files of one kind."""
    found = {
        file.name.removesuffix(suffix)
        for folder in resource_folders(kind)
        for file in folder.glob(f'*{suffix}')
    }
    return sorted(found)
