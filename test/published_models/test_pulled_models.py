"""Models that are pulled: checksums, mirrors, names; and the tool, as users call it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from file_server import FileServer, serving
from tiny_models import LABELS, write_yolox

from yolox_trt_ros import ConfigError, Detector
from yolox_trt_ros.__main__ import main
from yolox_trt_ros.core.class_names import COCO
from yolox_trt_ros.detect.model import load_model_spec
from yolox_trt_ros.packaged_models import caution, find_model
from yolox_trt_ros.published_models import kept
from yolox_trt_ros.published_models.catalogue import CATALOGUE, FIRST, PublishedFile
from yolox_trt_ros.published_models.download import DownloadError, digest_of

pull = partial(kept.pull, pause_s=0.001)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    for name in [*os.environ]:
        if name.lower() in ('http_proxy', 'https_proxy', 'all_proxy', 'no_proxy'):
            monkeypatch.delenv(name)


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FileServer]:
    """Serve a tiny model in the place of two of the catalogue."""
    folder = tmp_path / 'served'
    folder.mkdir()
    write_yolox(folder / 'yolox_s.onnx', labels=COCO)
    write_yolox(folder / 'theirs.onnx')
    (folder / 'label.txt').write_text('\n'.join(LABELS))
    with serving(folder) as state:
        first = replace(CATALOGUE[FIRST], file=PublishedFile(f'{state.url}/yolox_s.onnx'))
        labels = PublishedFile(f'{state.url}/label.txt', digest_of(folder / 'label.txt'))
        theirs = PublishedFile(f'{state.url}/theirs.onnx', digest_of(folder / 'theirs.onnx', 'md5'))
        other = replace(CATALOGUE['autoware_yolox_s'], file=theirs, labels_file=labels)
        monkeypatch.setitem(CATALOGUE, FIRST, first)
        monkeypatch.setitem(CATALOGUE, other.name, other)
        yield state


def test_its_name_is_a_model_then(server: FileServer) -> None:
    with pytest.raises(ConfigError, match=f'{FIRST} is not here yet: .* models pull {FIRST}'):
        Detector(FIRST)
    file = pull(CATALOGUE[FIRST], kept.models_folder())
    assert find_model(FIRST) == find_model(f'{FIRST}.onnx') == file
    with Detector(FIRST) as detect:
        assert detect.labels == COCO
    assert 'licence: Apache-2.0' in file.with_suffix('.yaml').read_text()
    assert not caution(file)


def test_labels_of_a_file_come_along(server: FileServer) -> None:
    file = pull(CATALOGUE['autoware_yolox_s'], kept.models_folder())
    assert load_model_spec(file).labels == LABELS


def test_what_is_there_is_not_fetched_again(server: FileServer) -> None:
    said: list[str] = []
    file = pull(CATALOGUE[FIRST], kept.models_folder())
    server.asked.clear()
    assert pull(CATALOGUE[FIRST], kept.models_folder(), on_event=said.append) == file
    assert not server.asked and 'is there, and unchanged' in said[0]
    file.write_bytes(b'x')
    with pytest.raises(DownloadError, match=r'expected sha256:.*changed or damaged; remove it'):
        pull(CATALOGUE[FIRST], kept.models_folder())


def test_the_first_checksum_is_kept_and_compared(server: FileServer) -> None:
    file = pull(CATALOGUE[FIRST], kept.models_folder())
    file.unlink()
    write_yolox(server.folder / 'yolox_s.onnx', labels=COCO, seed=1)
    with pytest.raises(DownloadError, match=r'expected sha256:.*--accept-changed'):
        pull(CATALOGUE[FIRST], kept.models_folder())
    assert not file.exists() and not list(file.parent.glob('*.new*'))
    pull(CATALOGUE[FIRST], kept.models_folder(), accept=True)
    known = json.loads((kept.models_folder() / kept.CHECKSUMS).read_text())
    assert known[CATALOGUE[FIRST].file.url] == digest_of(file)


def test_a_published_checksum_counts_from_the_first_time(server: FileServer) -> None:
    (server.folder / 'theirs.onnx').write_text('<html>Please log in</html>')
    with pytest.raises(DownloadError, match=r'expected md5:.*it is a web page'):
        pull(CATALOGUE['autoware_yolox_s'], kept.models_folder())


def test_mirrors_are_asked_first_and_the_server_after_them(
    server: FileServer, tmp_path: Path
) -> None:
    empty, full = tmp_path / 'empty', tmp_path / 'full'
    for folder in (empty, full):
        folder.mkdir()
    with serving(empty) as mirror:
        pull(CATALOGUE[FIRST], tmp_path / 'a', [mirror.url, str(empty)])
        assert mirror.asked == [('/yolox_s.onnx', '')] and len(server.asked) == 1
    (full / 'yolox_s.onnx').write_bytes((server.folder / 'yolox_s.onnx').read_bytes())
    server.asked.clear()
    file = pull(CATALOGUE[FIRST], tmp_path / 'b', [str(full)])
    assert not server.asked and load_model_spec(file).labels == COCO, 'without a network'


def test_the_tool(server: FileServer, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(['models', 'list']) == 0
    listed = capsys.readouterr().out
    assert all(name in listed for name in CATALOGUE) and 'Apache-2.0' in listed
    assert main(['models', 'pull', FIRST]) == 0
    assert f'use it with --model {FIRST}' in capsys.readouterr().out.replace('\n', ' ')
    assert main(['models', 'list', '--files']) == 0
    assert f'{server.url}/yolox_s.onnx' in capsys.readouterr().out.replace('\n', '')
    assert main(['models', 'show', FIRST]) == 0
    shown = ' '.join(capsys.readouterr().out.split())
    for text in ('input 96x64, float32, bgr', 'head yolox', 'classes 80: person', 'sha256:'):
        assert text in shown, shown


def test_the_tool_refuses_what_there_is_not(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(['models', 'pull', 'yolox_z']) == 1
    assert 'no model is called "yolox_z" — did you mean "yolox_' in capsys.readouterr().err
    assert main(['models', 'show', FIRST]) == 1
    assert f'models pull {FIRST}' in capsys.readouterr().err
    assert main(['models', 'show', 'nothing.onnx']) == 1
    assert 'there is no such file' in capsys.readouterr().err


def test_packaged_models_say_what_they_have_seen(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert 'rendered world' in caution(find_model('edge_n'))
    assert f'models pull {FIRST}' in caution(find_model('edge_s'))
    assert not caution(write_yolox(tmp_path / 'edge_n.onnx'))
    assert main(['models', 'show', 'edge_n']) == 0
    assert 'rendered world' in ' '.join(capsys.readouterr().out.split())


def test_every_entry_of_the_catalogue_is_complete() -> None:
    for name, model in CATALOGUE.items():
        assert model.name == name and model.file.url.startswith('https://')
        assert model.licence and model.about and model.source.startswith('https://')
        assert bool(model.labels) != bool(model.labels_file)
    assert {f'yolox_{size}' for size in ('nano', 'tiny', 's', 'm', 'l', 'x')} <= {*CATALOGUE}
