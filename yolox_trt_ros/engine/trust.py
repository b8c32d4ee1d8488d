"""Check the owner and mode of engine files, because a TensorRT engine is code.

Files and their folder have to belong to this user or to root, and nobody else may write them. What
is checked is the opened file, not its name.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from yolox_trt_ros.core.errors import EngineError
from yolox_trt_ros.core.text_files import read_most

_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
_ANYWAY = 'or set engines.trust_folder if all who can write there are trusted'


class UntrustedError(EngineError):
    """Another user could have written an engine, or what belongs to it."""


def check_folder(folder: Path) -> None:
    """Refuse a folder in which other users may replace files; one that is missing is fine.

    In a folder with the sticky bit, such as ``/tmp``, they may not; what they put there is found
    out file by file.

    Raises:
        UntrustedError: says whose it is or who may write it, and what to do.
        EngineError: it is no folder.
    """
    try:
        state = os.stat(folder)
    except FileNotFoundError:
        return
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise EngineError(f'the engine cache {folder} cannot be read: {why}') from error
    if not stat.S_ISDIR(state.st_mode):
        raise EngineError(f'the engine cache {folder}: expected a folder, got a file')
    if not state.st_mode & stat.S_ISVTX:
        _check(folder, state, 'chmod 700')


def read_own(path: Path, most_bytes: int, trusted: bool) -> bytes:
    """Return the content of a file that this user or root wrote.

    Args:
        path: where it is; a pipe or a device is not waited for.
        most_bytes: a larger one is refused.
        trusted: whether it is read whoever wrote it.

    Raises:
        UntrustedError: another user wrote it, or may write it.
        EngineError: it cannot be read, is no regular file, or is larger.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise EngineError(f'{path}: cannot be read: {error.strerror}') from error
    with os.fdopen(_regular(handle, path), 'rb') as file:
        state = os.fstat(file.fileno())
        if not trusted:
            _check(path, state, 'chmod 600')
        if state.st_size > most_bytes:
            raise EngineError(f'{path}: expected at most {most_bytes} bytes, got {state.st_size}')
        return read_most(file, most_bytes)


def open_lock(path: Path) -> int:
    """Return a file to be locked, made if it is missing; never one behind a symbolic link.

    Raises:
        OSError: it cannot be opened.
        UntrustedError: it is a link or no regular file.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        handle = os.open(path, flags, 0o600)
    except OSError as error:
        if path.is_symlink() or (path.exists() and not path.is_file()):
            raise UntrustedError(f'{path} is no regular file: remove it') from error
        raise
    return _regular(handle, path)


def _regular(handle: int, path: Path) -> int:
    """Return an open file's handle; it is closed if it is no regular file's."""
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise UntrustedError(f'{path} is no regular file: remove it')
    return handle


def _check(path: Path, state: os.stat_result, command: str) -> None:
    if state.st_uid not in (os.geteuid(), 0):
        raise UntrustedError(
            f'{path} belongs to user {state.st_uid}, expected {os.geteuid()} or root: an engine is '
            f'code, and is not taken from others: remove it, set engines.folder, {_ANYWAY}'
        )
    if state.st_mode & _OTHERS_WRITE:
        raise UntrustedError(
            f'{path} may be written by others (mode {stat.S_IMODE(state.st_mode):o}): an engine is '
            f'code, and is not taken from others: `{command} {path}`, {_ANYWAY}'
        )
