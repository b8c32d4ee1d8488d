"""A web server on this machine that serves one folder, and breaks down as a test wants it to."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit


class FileServer:
    """What it serves, and how.

    Attributes:
        folder: its files.
        url: where it is.
        asked: path and ``Range`` of each request.
        breaks: of the next requests: how many bytes they get before the connection ends.
        codes: of the next requests: what they get in place of the file.
        ranges: whether it knows ``Range``.
        validators: whether it sends ``ETag``.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.url = ''
        self.asked: list[tuple[str, str]] = []
        self.breaks: list[int] = []
        self.codes: list[int] = []
        self.ranges = self.validators = True


@contextmanager
def serving(folder: Path) -> Iterator[FileServer]:
    state = FileServer(folder)

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            asked = self.headers.get('Range', '')
            state.asked.append((self.path, asked))
            file = state.folder / Path(urlsplit(self.path).path).name
            code = state.codes.pop(0) if state.codes else 0 if file.is_file() else 404
            if code:
                self.send_error(code)
                return
            content = file.read_bytes()
            tag = f'"{hashlib.sha256(content).hexdigest()[:16]}"'
            begin = int(asked.removeprefix('bytes=').rstrip('-')) if asked else 0
            same = self.headers.get('If-Range', tag) == tag
            if not (asked and same and state.ranges):
                begin = 0
            self.send_response(206 if begin else 200)
            if begin:
                self.send_header(
                    'Content-Range', f'bytes {begin}-{len(content) - 1}/{len(content)}'
                )
            if state.validators:
                self.send_header('ETag', tag)
            self.send_header('Content-Length', str(len(content) - begin))
            self.end_headers()
            most = state.breaks.pop(0) if state.breaks else len(content)
            self.wfile.write(content[begin : begin + most])

    server = ThreadingHTTPServer(('127.0.0.1', 0), Handler)
    state.url = f'http://127.0.0.1:{server.server_address[1]}'
    thread = threading.Thread(target=server.serve_forever, kwargs={'poll_interval': 0.02})
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
