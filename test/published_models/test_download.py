"""Downloads from a server that breaks off, changes its file, refuses, or is not there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from file_server import FileServer, serving

from yolox_trt_ros.published_models import download
from yolox_trt_ros.published_models.download import ATTEMPTS, DownloadError, digest_of

SIZE = 100_000
fetch = partial(download.fetch, pause_s=0.001)


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [*os.environ]:
        if name.lower() in ('http_proxy', 'https_proxy', 'all_proxy', 'no_proxy'):
            monkeypatch.delenv(name)


def content(seed: int = 0) -> bytes:
    return np.random.default_rng(seed).bytes(SIZE)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[FileServer]:
    folder = tmp_path / 'served'
    folder.mkdir()
    (folder / 'm.onnx').write_bytes(content())
    with serving(folder) as state:
        yield state


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / 'here.onnx'


def left_over(target: Path) -> list[str]:
    return sorted(f.name for f in target.parent.glob('here.onnx.*'))


def test_a_whole_file_with_progress(server: FileServer, target: Path) -> None:
    seen: list[tuple[int, int]] = []
    fetch(f'{server.url}/m.onnx', target, lambda done, size: seen.append((done, size)))
    assert target.read_bytes() == content() and not left_over(target)
    assert seen[0] == (0, SIZE) and seen[-1] == (SIZE, SIZE)


def test_one_that_breaks_off_goes_on_in_the_same_call(server: FileServer, target: Path) -> None:
    server.breaks = [30_000, 30_000]
    fetch(f'{server.url}/m.onnx', target)
    assert target.read_bytes() == content()
    assert [r for _, r in server.asked] == ['', 'bytes=30000-', 'bytes=60000-']


def test_one_that_was_given_up_goes_on_in_the_next_call(server: FileServer, target: Path) -> None:
    server.breaks = [40_000] + [0] * ATTEMPTS
    with pytest.raises(DownloadError, match=r'broke off at 0\.0 of 0\.1 MB.* same command goes on'):
        fetch(f'{server.url}/m.onnx', target)
    assert not target.exists() and left_over(target) == ['here.onnx.part', 'here.onnx.part.json']
    server.breaks, server.asked = [], []
    fetch(f'{server.url}/m.onnx', target)
    assert target.read_bytes() == content() and not left_over(target)
    assert server.asked == [('/m.onnx', 'bytes=40000-')]


def test_a_file_that_changed_meanwhile_begins_anew(server: FileServer, target: Path) -> None:
    server.breaks = [40_000] + [0] * ATTEMPTS
    with pytest.raises(DownloadError):
        fetch(f'{server.url}/m.onnx', target)
    (server.folder / 'm.onnx').write_bytes(content(1))
    fetch(f'{server.url}/m.onnx', target)
    assert target.read_bytes() == content(1), 'not the head of one and the tail of the other'


@pytest.mark.parametrize('lacks', ['ranges', 'validators'])
def test_a_server_that_cannot_go_on_begins_anew(
    server: FileServer, target: Path, lacks: str
) -> None:
    setattr(server, lacks, False)
    server.breaks = [40_000]
    fetch(f'{server.url}/m.onnx', target)
    assert target.read_bytes() == content()


def test_what_another_url_left_is_not_used(server: FileServer, target: Path) -> None:
    (server.folder / 'other.onnx').write_bytes(content(1))
    server.breaks = [40_000] + [0] * ATTEMPTS
    with pytest.raises(DownloadError):
        fetch(f'{server.url}/other.onnx', target)
    fetch(f'{server.url}/m.onnx', target)
    assert target.read_bytes() == content()


def test_a_busy_server_is_asked_again(server: FileServer, target: Path) -> None:
    server.codes = [503, 429]
    fetch(f'{server.url}/m.onnx', target)
    assert target.read_bytes() == content() and len(server.asked) == 3


@pytest.mark.parametrize(
    ('code', 'advice'), [(404, '--mirror names another'), (407, 'log in at the proxy')]
)
def test_a_server_that_refuses_is_asked_once(
    server: FileServer, target: Path, code: int, advice: str
) -> None:
    server.codes = [code] * 9
    with pytest.raises(DownloadError, match=f'{code} .*{advice}'):
        fetch(f'{server.url}/m.onnx', target)
    assert len(server.asked) == 1 and not target.exists()


def test_without_a_server_the_error_says_what_to_do(target: Path) -> None:
    with serving(target.parent) as gone:
        url = gone.url
    with pytest.raises(DownloadError, match=r'refused.*https_proxy.*--mirror a folder'):
        fetch(f'{url}/m.onnx', target)


def test_the_proxy_of_the_environment_is_used(
    server: FileServer, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv('http_proxy', server.url)
    fetch('http://nowhere.invalid/m.onnx', target)
    assert target.read_bytes() == content()
    assert server.asked == [('http://nowhere.invalid/m.onnx', '')]


def test_a_file_of_this_machine(server: FileServer, target: Path) -> None:
    for url in (str(server.folder / 'm.onnx'), (server.folder / 'm.onnx').as_uri()):
        fetch(url, target)
        assert target.read_bytes() == content() and not left_over(target)
    with pytest.raises(DownloadError, match='No such file'):
        fetch(str(server.folder / 'none.onnx'), target)
    with pytest.raises(DownloadError, match='expected http, https, file'):
        fetch('ftp://somewhere/m.onnx', target)


def test_checksums(server: FileServer) -> None:
    file = server.folder / 'm.onnx'
    assert digest_of(file).startswith('sha256:') and digest_of(file, 'md5').startswith('md5:')
