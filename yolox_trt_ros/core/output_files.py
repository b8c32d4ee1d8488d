"""Write files whole or not at all."""

from __future__ import annotations

import os
import stat
import tempfile
from contextlib import suppress
from pathlib import Path

from yolox_trt_ros.core.errors import YoloxTrtRosError
from yolox_trt_ros.core.printing import one_line


def write_whole(file: Path, content: str | bytes) -> None:
    """Write a file so that a full disk or an interruption leaves the old content, or no file.

    Folders on the way are made. What is no regular file (``/dev/stdout``, a pipe) is written to.

    Args:
        file: where to; a link stays one, and what it points to is written.
        content: text is written as UTF-8; halves of pairs in it, as names of files that are not
            UTF-8 have, are escaped.

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
        _replace(target, data)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise YoloxTrtRosError(f'{one_line(file)}: cannot be written: {error.strerror}') from error


def _replace(target: Path, data: bytes) -> None:
    handle, draft = tempfile.mkstemp(dir=target.parent, prefix='.', suffix='.part')
    try:
        with os.fdopen(handle, 'wb') as stream:
            stream.write(data)
            os.fchmod(stream.fileno(), _mode(target))
        os.replace(draft, target)
    except BaseException:
        with suppress(OSError):
            os.unlink(draft)
        raise


def _mode(target: Path) -> int:
    """Return the permissions of the file that is replaced, or those of a new one."""
    try:
        return stat.S_IMODE(target.stat().st_mode)
    except FileNotFoundError:
        umask = os.umask(0)
        os.umask(umask)
        return 0o666 & ~umask
