"""Write files whole or not at all."""

from __future__ import annotations

import glob
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from yolox_trt_ros.core.errors import YoloxTrtRosError
from yolox_trt_ros.core.printing import one_line


def write_whole(file: Path, content: str | bytes, *, durable: bool = False) -> None:
    """Write a file so that a full disk or an interruption leaves the old content, or no file.

    Folders on the way are made. What is no regular file (``/dev/stdout``, a pipe) is written to.

    Args:
        file: where to; a link stays one, and what it points to is written.
        content: text is written as UTF-8; halves of pairs in it, as names of files that are not
            UTF-8 have, are escaped.
        durable: whether that holds after a power cut, too; takes time.

    Raises:
        YoloxTrtRosError: it cannot be written; the message names the file.
    """
    data = content.encode('utf-8', 'backslashreplace') if isinstance(content, str) else content
    try:
        target = Path(os.path.realpath(file))
        if target.exists() and not stat.S_ISREG(target.stat().st_mode):
            with file.open('wb') as stream:  # not the target: /dev/stdout resolves to no file
                stream.write(data)
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        replace_file(target, data, durable=durable)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise YoloxTrtRosError(f'{one_line(file)}: cannot be written: {error.strerror}') from error


def replace_file(
    target: Path, data: bytes, *, mode: int | None = None, durable: bool = False
) -> None:
    """Write a regular file so that readers find the old content or the new one.

    Args:
        target: where to, in a folder that exists.
        data: the new content.
        mode: its permissions; None: those of the old file, or as the umask says.
        durable: whether that holds after a power cut, too; takes time.

    Raises:
        OSError: it cannot be written; the old content stays.
    """
    handle, draft = tempfile.mkstemp(dir=target.parent, prefix=_draft(target))
    try:
        with os.fdopen(handle, 'wb') as stream:
            stream.write(data)
            os.fchmod(stream.fileno(), _mode(target) if mode is None else mode)
            if durable:
                stream.flush()
                os.fsync(stream.fileno())
        os.replace(draft, target)
    except BaseException:
        with suppress(OSError):
            os.unlink(draft)
        raise
    if durable:
        folder = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def drafts(target: Path) -> Iterator[Path]:
    """Yield what processes that were killed left while they wrote a file."""
    return target.parent.glob(f'{glob.escape(_draft(target))}*')


def _draft(target: Path) -> str:
    """Return how the names of a file's drafts begin: with its own, as far as names may be long."""
    return f'.{target.name[-50:]}.'


def _mode(target: Path) -> int:
    """Return the permissions of the file that is replaced, or those of a new one."""
    try:
        return stat.S_IMODE(target.stat().st_mode)
    except FileNotFoundError:
        umask = os.umask(0)
        os.umask(umask)
        return 0o666 & ~umask
