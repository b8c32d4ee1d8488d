"""Folders on this machine or in an object store, read and written alike."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from yolox_trt_ros.core.errors import ConfigError, YoloxTrtRosError
from yolox_trt_ros.core.output_files import write_whole
from yolox_trt_ros.core.printing import one_line
from yolox_trt_ros.fleet.packages import package

SCHEME = re.compile(r'([A-Za-z][A-Za-z0-9+.-]*)://')
SIGNS = re.compile('[/?]')
OF_ARROW = ('file', 's3', 'gs', 'gcs')
"""What pyarrow reads by itself; any other scheme is fsspec's."""


def is_remote(uri: str) -> bool:
    """Return whether a name is that of something in an object store."""
    found = SCHEME.match(uri)
    return found is not None and found[1] != 'file'


def refuse_keys(uri: str) -> None:
    """See that a URI is without credentials, for it stands in results, messages and pages.

    Raises:
        ConfigError: it has some; the message is without them.
    """
    found = SCHEME.match(uri)
    if found is None:
        return
    host = SIGNS.split(uri[found.end() :], maxsplit=1)[0]
    port = host.rpartition(':')[2] if ':' in host else '0'
    # A secret may hold a slash: then what is before it looks like a port.
    if '@' in host or not port.isdigit():
        raise ConfigError(
            f'{found[0]}…: keys do not belong in a URI: set AWS_ACCESS_KEY_ID and '
            'AWS_SECRET_ACCESS_KEY, or what else your store asks for'
        )


def filesystem_of(uri: str) -> tuple[Any, str]:
    """Return pyarrow's file system of a path or URI, and the path in it.

    Raises:
        ConfigError: nothing knows the scheme, the store refuses, or there are keys in the URI.
        MissingDependencyError: pyarrow or fsspec is not installed.
    """
    refuse_keys(uri)
    fs = package('pyarrow.fs')
    found = SCHEME.match(uri)
    try:
        if not found:
            return fs.LocalFileSystem(), os.path.abspath(uri)
        if found[1] in OF_ARROW:
            opened: tuple[Any, str] = fs.FileSystem.from_uri(uri)
            return opened
        fsspec = package('fsspec.core')
        other, path = fsspec.url_to_fs(uri)
        return fs.PyFileSystem(fs.FSSpecHandler(other)), path
    except (OSError, ValueError, ImportError) as error:
        raise ConfigError(f'{one_line(uri)}: cannot be opened: {one_line(error)}') from error


class Store:
    """One folder; it can be pickled.

    Args:
        uri: a path, or a URI such as ``s3://bucket/prefix`` or ``file:///data/out``.

    Raises:
        ConfigError: there are keys in the URI.
    """

    def __init__(self, uri: str) -> None:
        refuse_keys(uri)
        self.uri = uri.rstrip('/') if is_remote(uri) else filesystem_of(uri)[1]
        self._opened: tuple[Any, str] | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return Store, (self.uri,)

    @property
    def opened(self) -> tuple[Any, str]:
        """Return pyarrow's file system, and the folder's path in it."""
        if self._opened is None:
            self._opened = filesystem_of(self.uri)
        return self._opened

    @property
    def remote(self) -> bool:
        """Return whether it is in an object store."""
        return is_remote(self.uri)

    def write(self, name: str, content: bytes) -> None:
        """Write a file so that others see all of it or nothing; an old one is replaced.

        On this machine that holds after a power cut, too.

        Raises:
            YoloxTrtRosError: it cannot be written.
        """
        if not self.remote:
            write_whole(Path(self.uri, name), content, durable=True)
            return
        fs, root = self.opened
        try:
            # An object appears when the stream is closed.
            with fs.open_output_stream(f'{root}/{name}') as stream:
                stream.write(content)
        except OSError as error:
            raise YoloxTrtRosError(
                f'{self.uri}/{name}: cannot be written: {one_line(error)}'
            ) from error

    def read(self, name: str) -> bytes | None:
        """Return a file's content; None: there is none.

        Raises:
            YoloxTrtRosError: it cannot be read.
        """
        fs, root = self.opened
        try:
            with fs.open_input_file(f'{root}/{name}') as stream:
                return bytes(stream.read())
        except FileNotFoundError:
            return None
        except OSError as error:
            raise YoloxTrtRosError(
                f'{self.uri}/{name}: cannot be read: {one_line(error)}'
            ) from error

    def names(self, folder: str, suffix: str) -> list[str]:
        """Return the files of a folder and of those in it, by their names below this store."""
        fs, root = self.opened
        selector = package('pyarrow.fs').FileSelector(
            f'{root}/{folder}', recursive=True, allow_not_found=True
        )
        found = [info.path for info in fs.get_file_info(selector) if info.is_file]
        own = [path[len(root) :].lstrip('/') for path in found]
        # Drafts of files that are being written begin with a point.
        return sorted(n for n in own if n.endswith(suffix) and n.rpartition('/')[2][0] != '.')
