"""Standard output and error of a tool, whose readers may go away and whose terminals are kept."""

from __future__ import annotations

import io
import os
import sys

CLOSED = 141
"""Exit code of a program whose reader went away: 128 and SIGPIPE, as shells tell it."""


class _Stream(io.RawIOBase):
    """A file descriptor; what nobody reads any more is given up without an error.

    Attributes:
        closed_by_reader: whether that happened.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.closed_by_reader = False

    def fileno(self) -> int:
        return self._descriptor

    def isatty(self) -> bool:
        return os.isatty(self._descriptor)

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        view = memoryview(data)  # type: ignore[arg-type]
        if not self.closed_by_reader:
            try:
                return os.write(self._descriptor, view)
            except BrokenPipeError:
                self.closed_by_reader = True
        return len(view)


class StandardOutput:
    """Puts streams in the place of ``sys.stdout`` and ``sys.stderr``.

    A tool whose output is cut off (``| head``) goes on, so that the files it was asked for are
    written; and text that cannot be encoded, as names of files that are not UTF-8, is escaped.
    """

    def __init__(self) -> None:
        self._streams = [_Stream(number) for number in (1, 2)]
        sys.stdout, sys.stderr = (
            io.TextIOWrapper(
                io.BufferedWriter(stream),
                encoding=before.encoding if before else 'utf-8',
                errors='backslashreplace',
                line_buffering=stream.isatty() or number == 2,
            )
            for number, (stream, before) in enumerate(
                zip(self._streams, (sys.stdout, sys.stderr), strict=True), 1
            )
        )

    def code(self, code: int) -> int:
        """Return the exit code of a tool that ended with ``code``; what it wrote is out then."""
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        return CLOSED if code == 0 and self._streams[0].closed_by_reader else code
