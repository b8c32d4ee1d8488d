"""Fetch a file over HTTP(S) or from a folder; a download that broke off goes on where it stopped.

Proxies are those of the environment (``https_proxy``, ``no_proxy`` …), as ``urllib`` has them.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import shutil
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from yolox_trt_ros.core.errors import YoloxTrtRosError
from yolox_trt_ros.core.printing import one_line, shown

MOST_BYTES = 4 << 30
ATTEMPTS = 5
PAUSE_S = 1.0
TIMEOUT_S = 30.0
_PIECE = 1 << 18
_TRANSIENT = {408, 429, 500, 502, 503, 504}

Progress = Callable[[int, int], None]
"""Called with the bytes that are there, and with those that there will be; 0: not known."""


class DownloadError(YoloxTrtRosError):
    """A file could not be fetched; the message says from where, why, and what to do."""


@dataclass(frozen=True, slots=True)
class _Answer:
    """What a server says of a file.

    Attributes:
        begin: of its first byte in the file.
        size: of the whole file; 0: not known.
        version: ``ETag`` or ``Last-Modified``; empty: it says neither.
    """

    begin: int
    size: int
    version: str


def fetch(
    url: str,
    target: Path,
    progress: Progress = lambda done, size: None,
    pause_s: float = PAUSE_S,
) -> None:
    """Write a file's whole content to ``target``.

    What has come so far lies beside it in ``<target>.part`` and is used by the next call; if the
    server's file is another one by then, it begins anew.

    Args:
        url: ``http://``, ``https://`` or ``file://``, or a path.
        target: in a folder that exists.
        progress: see :data:`Progress`.
        pause_s: before the second attempt; doubles.

    Raises:
        DownloadError: the server refuses, or cannot be reached, or breaks off again and again.
    """
    part = target.with_name(f'{target.name}.part')
    local = _local(url)
    if local is not None:
        _copy(local, part, progress)
    else:
        _attempts(url, part, progress, pause_s)
    os.replace(part, target)
    _note_of(part).unlink(missing_ok=True)


def digest_of(file: Path, kind: str = 'sha256') -> str:
    """Return a file's checksum as ``sha256:…``."""
    with file.open('rb') as stream:
        found = hashlib.new(kind, usedforsecurity=False)
        while piece := stream.read(_PIECE):
            found.update(piece)
    return f'{kind}:{found.hexdigest()}'


def _local(url: str) -> Path | None:
    scheme, _, rest = url.partition('://')
    if not rest:
        return Path(url).expanduser()
    if scheme == 'file':
        return Path(urllib.request.url2pathname(urllib.parse.urlsplit(url).path))
    if scheme not in ('http', 'https'):
        raise DownloadError(f'{one_line(url)}: expected http, https, file or a path')
    return None


def _copy(source: Path, part: Path, progress: Progress) -> None:
    try:
        with source.open('rb') as stream, part.open('wb') as out:
            shutil.copyfileobj(stream, out, _PIECE)
        progress(part.stat().st_size, part.stat().st_size)
    except OSError as error:
        raise DownloadError(f'{one_line(source)}: {error.strerror}') from error


def _attempts(url: str, part: Path, progress: Progress, pause_s: float) -> None:
    problem = ''
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(pause_s * 2 ** (attempt - 1))
        before = _size(part)
        try:
            problem = _attempt(url, part, progress)
        except urllib.error.HTTPError as error:
            with error:
                problem = f'{error.code} {error.reason}'
                if error.code == 416:  # what is here is no part of what is there
                    _forget(part)
                elif error.code not in _TRANSIENT:
                    raise DownloadError(
                        f'{one_line(url)}: the server says {one_line(problem)}{_advice(error.code)}'
                    ) from error
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, 'reason', error)
            problem = one_line(str(reason) or type(error).__name__)
        if not problem:
            return
        if _size(part) > before:  # it goes on: only a server that gives nothing is given up
            continue
    kept = _size(part)
    there = f'; {kept / 1e6:.1f} MB are kept, the same command goes on from there' if kept else ''
    raise DownloadError(
        f'{one_line(url)}: {problem}, {ATTEMPTS} times{there}; behind a proxy set https_proxy, '
        'without a network give --mirror a folder that has the file'
    )


def _attempt(url: str, part: Path, progress: Progress) -> str:
    """Fetch what is missing; return what is wrong, or an empty string if the file is whole."""
    begin, note = _size(part), _note(part)
    headers = {'User-Agent': 'yolox_trt_ros', 'Accept-Encoding': 'identity'}
    if begin and note.get('url') == url and note.get('version'):
        headers |= {'Range': f'bytes={begin}-', 'If-Range': str(note['version'])}
    else:
        _forget(part)
    request = urllib.request.Request(url, headers=headers)
    opener = urllib.request.build_opener()  # asks the environment for proxies now
    with opener.open(request, timeout=TIMEOUT_S) as response:
        answer = _answer(response)
        if answer.size > MOST_BYTES:
            raise DownloadError(f'{one_line(url)}: {answer.size / 1e9:.1f} GB are too many')
        if answer.begin not in (0, _size(part)):
            _forget(part)
            return f'asked for byte {begin}, got {answer.begin}'
        _note_of(part).write_text(json.dumps({'url': url, 'version': answer.version}))
        with part.open('ab' if answer.begin else 'wb') as out:
            done = _pass_on(response, out, answer, progress)
    if answer.size and done < answer.size:
        return f'it broke off at {done / 1e6:.1f} of {answer.size / 1e6:.1f} MB'
    return ''


def _pass_on(response: IO[bytes], out: IO[bytes], answer: _Answer, progress: Progress) -> int:
    done = answer.begin
    progress(done, answer.size)
    try:
        while piece := response.read(_PIECE):
            out.write(piece)
            done += len(piece)
            if done > MOST_BYTES:
                raise DownloadError(f'more than {MOST_BYTES / 1e9:.1f} GB came')
            progress(done, answer.size)
    except http.client.IncompleteRead as error:
        out.write(error.partial)
        done += len(error.partial)
    return done


def _answer(response: Any) -> _Answer:
    headers = response.headers
    version = headers.get('ETag') or headers.get('Last-Modified') or ''
    if version.startswith('W/'):  # says nothing of the bytes
        version = headers.get('Last-Modified') or ''
    begin = size = 0
    if response.status == 206:
        span, _, whole = headers.get('Content-Range', '').removeprefix('bytes ').partition('/')
        begin = int(span.partition('-')[0]) if span.partition('-')[0].isdecimal() else -1
        size = int(whole) if whole.isdecimal() else 0
    elif (length := headers.get('Content-Length', '')).isdecimal():
        size = int(length)
    return _Answer(begin, size, version)


def _advice(code: int) -> str:
    if code in (404, 410):
        return ': the file is not there (any more); --mirror names another server or a folder'
    if code in (401, 403, 407):
        return ': log in at the proxy, or take another server with --mirror'
    return ''


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except FileNotFoundError:
        return 0


def _note_of(part: Path) -> Path:
    return part.with_name(f'{part.name}.json')


def _note(part: Path) -> dict[str, Any]:
    with suppress(OSError, ValueError):
        note = json.loads(_note_of(part).read_text())
        if isinstance(note, dict):
            return note
    return {}


def _forget(part: Path) -> None:
    for file in (part, _note_of(part)):
        file.unlink(missing_ok=True)


def looks_like(file: Path) -> str:
    """Return what a file seems to be that is not the one that was expected."""
    with file.open('rb') as stream:
        begin = stream.read(200).lstrip().lower()
    if begin.startswith((b'<!doctype', b'<html', b'<?xml')):
        return 'a web page, such as a proxy’s log-in'
    if begin.startswith(b'version https://git-lfs'):
        return 'a pointer of Git LFS in place of the file'
    return f'something that begins with {shown(begin[:12].decode("latin-1"))}'
