"""The engine cache, with engines that TensorRT-RTX really built."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from tiny_models import write_yolox

from yolox_trt_ros.core.errors import EngineError
from yolox_trt_ros.engine.cache import CachedEngine, EngineCache, EngineKey
from yolox_trt_ros.engine.model_facts import model_facts
from yolox_trt_ros.engine.options import BuildOptions
from yolox_trt_ros.engine.provide import EngineRequest, provide
from yolox_trt_ros.engine.tensorrt_versions import TensorRT

ROOT = Path(__file__).resolve().parents[2]
KEY = EngineKey(
    'm.onnx', 'aa', 'tensorrt 10.3.0', 'Orin', '8.7', -1, 'fp16', '', 4, True, {'sparsity': False}
)  # fmt: skip


@pytest.fixture
def request_of(rtx: TensorRT, tmp_path: Path) -> Callable[..., EngineRequest]:
    def make(**options: Any) -> EngineRequest:
        path = tmp_path / 'm.onnx'
        if not path.exists():
            write_yolox(path, layout='per_level')
        return EngineRequest(rtx, model_facts(path), BuildOptions(**options))

    return make


@pytest.fixture
def cache(tmp_path: Path) -> EngineCache:
    return EngineCache(tmp_path / 'engines')


@pytest.fixture
def built(request_of: Callable[..., EngineRequest], cache: EngineCache) -> CachedEngine:
    return provide(request_of(), cache)


def test_engine_is_built_once(
    request_of: Callable[..., EngineRequest], cache: EngineCache, built: CachedEngine
) -> None:
    assert built.fresh
    messages: list[str] = []
    again = provide(request_of(), cache, 'never', on_event=messages.append)
    assert not again.fresh and not messages
    assert (again.engine, again.facts) == (built.engine, built.facts)
    assert again.facts['tensors'][0]['name'] == 'images'


def test_no_file_for_two_settings(
    request_of: Callable[..., EngineRequest], cache: EngineCache
) -> None:
    options: Sequence[dict[str, Any]] = (
        {}, {'precision': 'fp32'}, {'batch': 2}, {'batch': 2, 'dynamic': True}, {'sparsity': True},
        {'workspace_mib': 64},
    )  # fmt: skip
    engines = [provide(request_of(**o), cache) for o in options]
    assert len({e.path for e in engines}) == len(options)
    assert all(e.fresh for e in engines)


def damage(path: Path, how: str) -> None:
    content = path.read_bytes()
    sidecar = path.with_suffix('.json')
    facts = json.loads(sidecar.read_text())
    if how == 'truncated':
        path.write_bytes(content[: len(content) // 2])
    elif how == 'empty':
        path.write_bytes(b'')
    elif how == 'flipped':
        middle = len(content) // 2
        path.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
    elif how == 'engine gone':
        path.unlink()
    elif how == 'sidecar gone':
        sidecar.unlink()
    elif how == 'sidecar cut':
        sidecar.write_text(sidecar.read_text()[:100])
    elif how == 'sidecar a list':
        sidecar.write_text('[]')
    elif how == 'sidecar without facts':
        sidecar.write_text(json.dumps({k: v for k, v in facts.items() if k != 'facts'}))
    elif how == 'sidecar of the future':
        sidecar.write_text(json.dumps({**facts, 'format': 2}))
    elif how == 'other TensorRT':
        key = {**facts['key'], 'tensorrt': 'tensorrt 8.5.2'}
        sidecar.write_text(json.dumps({**facts, 'key': key}))


DAMAGES = {
    'truncated': 'is cut off or overwritten: expected',
    'empty': r'expected \d+ bytes, got 0',
    'flipped': 'is damaged: its SHA-256',
    'engine gone': 'there is no engine for these settings',
    'sidecar gone': r'\.json: cannot be read: No such file',
    'sidecar cut': r'\.json, line \d+: not JSON',
    'sidecar a list': r'\.json: expected an object',
    'sidecar without facts': '"facts" is missing',
    'sidecar of the future': 'is of format 2, this version reads 1',
    'other TensorRT': "tensorrt is 'tensorrt 8.5.2', expected 'tensorrt_rtx ",
}


@pytest.mark.parametrize('how', DAMAGES)
def test_damaged_engine(
    how: str, request_of: Callable[..., EngineRequest], cache: EngineCache, built: CachedEngine
) -> None:
    damage(built.path, how)
    with pytest.raises(EngineError, match=f'{DAMAGES[how]}.*engines.build is "never"'):
        provide(request_of(), cache, 'never')
    messages: list[str] = []
    again = provide(request_of(), cache, 'auto', on_event=messages.append)
    assert again.fresh and len(again.engine) == len(built.engine)
    assert len(messages) == 1 and messages[0].endswith(': building it')
    assert not provide(request_of(), cache, 'never').fresh


def test_stale_engine_is_named(
    request_of: Callable[..., EngineRequest], cache: EngineCache, built: CachedEngine
) -> None:
    # As after an update of TensorRT: the old engine is still there, under its old name.
    key = request_of().key()
    old = replace(key, tensorrt='tensorrt_rtx 1.6.0')
    for suffix in ('.engine', '.json'):
        file = built.path.with_suffix(suffix)
        file.rename(cache.path(old).with_suffix(suffix))
    damage_key = cache.path(old).with_suffix('.json')
    content = json.loads(damage_key.read_text())
    damage_key.write_text(json.dumps({**content, 'key': asdict(old)}))
    with pytest.raises(EngineError, match=r"its tensorrt is 'tensorrt_rtx 1\.6\.0', expected"):
        provide(request_of(), cache, 'never')


def test_key_of_another_model_with_the_same_name(
    rtx: TensorRT, cache: EngineCache, tmp_path: Path
) -> None:
    engines = []
    for seed in (1, 2):
        folder = tmp_path / str(seed)
        folder.mkdir()
        path = write_yolox(folder / 'm.onnx', layout='per_level', seed=seed)
        engines.append(provide(EngineRequest(rtx, model_facts(path), BuildOptions()), cache))
    assert engines[0].path != engines[1].path and engines[0].engine != engines[1].engine


# -- several processes, full disks, folders that cannot be written -----------------------------

CHILD = """
    import os, resource, sys
    from pathlib import Path
    from yolox_trt_ros.core.errors import EngineError
    from yolox_trt_ros.engine.model_facts import model_facts
    from yolox_trt_ros.engine.cache import EngineCache
    from yolox_trt_ros.engine.options import BuildOptions
    from yolox_trt_ros.engine.provide import EngineRequest, provide
    from yolox_trt_ros.engine.tensorrt_versions import load_tensorrt
    model, folder, what = sys.argv[1:]
    if what == 'full':
        resource.setrlimit(resource.RLIMIT_FSIZE, (9000, 9000))
    options = BuildOptions(precision='fp32')
    request = EngineRequest(load_tensorrt(), model_facts(Path(model)), options)
    if what == 'nobody' and os.geteuid() == 0:  # root may write anywhere
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
    print('ready', flush=True)
    sys.stdin.readline()
    try:
        engine = provide(request, EngineCache(Path(folder)))
    except EngineError as error:
        sys.exit(f'EngineError: {error}')
    print('fresh' if engine.fresh else 'found', len(engine.engine))
"""


def child(
    rtx_folder: Path, model: Path, folder: Path, what: str, within: Sequence[str] = ()
) -> Any:
    environ = {**os.environ, 'PYTHONPATH': os.pathsep.join([str(ROOT), str(rtx_folder)])}
    return subprocess.Popen(
        [*within, sys.executable, '-c', textwrap.dedent(CHILD), str(model), str(folder), what],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=environ
    )  # fmt: skip


def test_processes_that_build_at_once(rtx_folder: Path, edge_n_cut: Path, tmp_path: Path) -> None:
    folder = tmp_path / 'engines'
    children = [child(rtx_folder, edge_n_cut, folder, '') for _ in range(2)]
    assert [c.stdout.readline() for c in children] == ['ready\n'] * 2
    results = [c.communicate('\n', timeout=100) for c in start_together(children)]
    last = [out.splitlines()[-1].split() for out, _ in results]
    assert sorted(word for word, _ in last) == ['found', 'fresh'], results
    assert len({size for _, size in last}) == 1
    assert len(list(folder.glob('*.engine'))) == 1
    assert not list(folder.glob('.*')), 'a temporary file was left'


def start_together(children: list[Any]) -> list[Any]:
    for running in children:
        running.stdin.write('\n')
        running.stdin.flush()
    return children


def test_what_a_killed_writer_left_is_removed_before_a_build(tmp_path: Path) -> None:
    cache = EngineCache(tmp_path / 'cache')
    path = cache.path(KEY)
    path.parent.mkdir(mode=0o700)
    stem = path.stem
    for name in (f'.{stem}.engine.ab12', f'.{stem}.json.cd34', '.other.engine.ef56'):
        (path.parent / name).touch()
    cache.obtain(KEY, lambda: (b'engine', {}))
    drafts = [file.name for file in path.parent.iterdir() if file.name.startswith('.')]
    assert drafts == ['.other.engine.ef56']
    assert path.exists()


def test_builder_that_dies_gives_its_lock_back(
    rtx_folder: Path, edge_n_cut: Path, tmp_path: Path
) -> None:
    folder, model = tmp_path / 'engines', ROOT / 'models' / 'edge_s.onnx'
    dying = child(rtx_folder, model, folder, '')
    start_together([dying])
    while not list(folder.glob('*.lock')):
        assert dying.poll() is None
        time.sleep(0.02)
    dying.send_signal(signal.SIGKILL)
    dying.communicate(timeout=60)
    next_one = child(rtx_folder, edge_n_cut, folder, '')
    out, err = next_one.communicate('\n', timeout=60)
    assert 'fresh' in out, err
    key_lock = next(folder.glob('edge_s*.lock'))
    subprocess.run(['flock', '--nonblock', str(key_lock), 'true'], check=True)


def test_full_disk(rtx_folder: Path, edge_n_cut: Path, tmp_path: Path) -> None:
    """A folder of 4 MiB, or, where nobody may mount one, files of at most 9 kB."""
    folder = tmp_path / 'engines'
    folder.mkdir()
    mount = f'mount -t tmpfs -o size=4m none {folder}'
    small = ['unshare', '-rm', 'sh', '-c', f'{mount} && "$@"; code=$?; ls -A {folder}; exit $code']
    can = subprocess.run(['unshare', '-rm', 'sh', '-c', mount], capture_output=True).returncode == 0
    program = child(
        rtx_folder, edge_n_cut, folder, '' if can else 'full', [*small, '-'] if can else []
    )
    out, err = program.communicate('\n', timeout=60)
    assert 'EngineError: the engine was built, but its 9 MiB cannot be kept in' in err, out + err
    assert ('No space left on device' if can else 'File too large') in err
    assert 'make room, or set engines.folder' in err and program.returncode == 1
    left = out.split()[1:] if can else [f.name for f in folder.iterdir()]
    assert [Path(name).suffix for name in left] == ['.lock']


def test_read_only_folder(rtx_folder: Path) -> None:
    with tempfile.TemporaryDirectory() as place:  # which others may enter, unlike pytest's own
        os.chmod(place, 0o755)
        read_only_folder(rtx_folder, Path(place))


def read_only_folder(rtx_folder: Path, tmp_path: Path) -> None:
    model = write_yolox(tmp_path / 'm.onnx', layout='per_level')
    folder = tmp_path / 'engines'
    folder.mkdir()
    folder.chmod(0o555)
    try:
        reader = child(rtx_folder, model, folder, 'nobody')
        out, err = reader.communicate('\n', timeout=60)
        assert f'EngineError: the engine cache {folder} cannot be written' in err, out + err
        folder.chmod(0o755)
        provide_in(rtx_folder, model, folder)
        folder.chmod(0o555)
        reader = child(rtx_folder, model, folder, 'nobody')
        out, err = reader.communicate('\n', timeout=60)
        assert 'found' in out, err
        folder.chmod(0o600)
        reader = child(rtx_folder, model, folder, 'nobody')
        out, err = reader.communicate('\n', timeout=60)
        assert 'cannot be read: Permission denied' in err or 'cannot be written' in err, out + err
    finally:
        folder.chmod(0o755)


def provide_in(rtx_folder: Path, model: Path, folder: Path) -> None:
    out, err = child(rtx_folder, model, folder, '').communicate('\n', timeout=60)
    assert 'fresh' in out, err


def test_readers_see_whole_engines_only(tmp_path: Path) -> None:
    """One thread replaces an engine again and again, others read: each read is one of them."""
    cache = EngineCache(tmp_path)
    contents = [bytes([i]) * 300_000 for i in range(8)]
    facts: dict[str, Any] = {}
    cache.obtain(KEY, lambda: (contents[0], facts))
    stop = threading.Event()

    def replace_again() -> None:
        while not stop.is_set():
            for content in contents:
                cache.path(KEY).with_suffix('.json').unlink()
                cache.obtain(KEY, lambda content=content: (content, facts))  # type: ignore[misc]

    writer = threading.Thread(target=replace_again)
    writer.start()
    try:
        for _ in range(100):
            engine = cache.obtain(KEY, lambda: (contents[0], facts)).engine
            assert engine in contents
    finally:
        stop.set()
        writer.join()
