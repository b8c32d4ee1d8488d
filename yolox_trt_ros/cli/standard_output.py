"""Standard output and error of a tool: readers that go away, terminals that stay usable."""

from __future__ import annotations

import contextlib
import io
import os
import select
import sys

CLOSED = 141
"""Exit code of a program whose reader went away: 128 and SIGPIPE, as shells tell it."""


class _Stream(io.RawIOBase):
    """A file descriptor; once it cannot be written, all that follows is given up.

    Attributes:
        error: what writing said then; BrokenPipeError: nobody reads any more.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.error: OSError | None = None

    def fileno(self) -> int:
        return self._descriptor

    def isatty(self) -> bool:
        return os.isatty(self._descriptor)

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        view = memoryview(data)  # type: ignore[arg-type]
        while self.error is None:
            try:
                return os.write(self._descriptor, view)
            except BlockingIOError:  # the other end made the pipe a non-blocking one
                select.select([], [self._descriptor], [])
            except OSError as error:
                self.error = error
        return len(view)


class StandardOutput:
    """Puts streams in the place of ``sys.stdout`` and ``sys.stderr``.

    A tool whose output is cut off (``| head``) goes on, so that the files it was asked for are
    written, as one does whose output is on a full disk; and text that cannot be encoded, as names
    of files that are not UTF-8, is escaped.
    """

    def __init__(self) -> None:
        _open_closed()
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
        error = self._streams[0].error
        if error is None:
            return code
        if isinstance(error, BrokenPipeError):
            return code or CLOSED
        print(f'yolox_trt_ros: standard output: {error.strerror}', file=sys.stderr)
        return code or 1


def _open_closed() -> None:
    """Let what the shell closed (``>&-``) lead nowhere: the next file would have its number."""
    for number in (0, 1, 2):
        with contextlib.suppress(OSError):
            os.fstat(number)
            continue
        os.open(os.devnull, os.O_RDWR)  # the lowest number that is free
