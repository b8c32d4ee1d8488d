"""Whose engines are loaded: owners, permissions, links, hostile sidecars."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from test_cache import KEY

from yolox_trt_ros.core.errors import EngineError
from yolox_trt_ros.engine.cache import EngineCache


@pytest.fixture
def stored(tmp_path: Path) -> EngineCache:
    """Return a cache that holds the engine of ``KEY``."""
    cache = EngineCache(tmp_path / 'a' / 'engines')
    cache.obtain(KEY, lambda: (b'engine', {}))
    return cache


def test_folder_is_made_for_its_user_alone(stored: EngineCache) -> None:
    for folder in (stored.folder, stored.folder.parent):
        assert folder.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize('mode', [0o770, 0o707, 0o777])
def test_folder_that_others_may_write_is_refused(stored: EngineCache, mode: int) -> None:
    stored.folder.chmod(mode)
    never_built = pytest.fail
    for call in (lambda: stored.load(KEY), lambda: stored.obtain(KEY, never_built)):  # type: ignore[arg-type]
        with pytest.raises(EngineError, match=rf'mode {mode:o}.*code.*chmod 700.*trust_folder'):
            call()
    assert EngineCache(stored.folder, trusted=True).load(KEY).engine == b'engine'
    stored.folder.chmod(mode | 0o1000)  # as /tmp: files are looked at one by one
    assert stored.load(KEY).engine == b'engine'


@pytest.mark.parametrize('suffix', ['.engine', '.json'])
def test_file_that_others_may_write_is_refused(stored: EngineCache, suffix: str) -> None:
    file = stored.path(KEY).with_suffix(suffix)
    file.chmod(0o666)
    with pytest.raises(EngineError, match=rf'{suffix} may be written by others \(mode 666\)'):
        stored.load(KEY)
    assert EngineCache(stored.folder, trusted=True).load(KEY).engine == b'engine'


@pytest.mark.skipif(os.geteuid() != 0, reason='only root may give files away')
@pytest.mark.parametrize('what', ['folder', '.engine', '.json'])
def test_what_another_user_owns_is_refused(stored: EngineCache, what: str) -> None:
    file = stored.folder if what == 'folder' else stored.path(KEY).with_suffix(what)
    os.chown(file, 65534, 65534)
    with pytest.raises(EngineError, match=r'belongs to user 65534, expected 0 or root'):
        stored.obtain(KEY, pytest.fail)  # type: ignore[arg-type]
    assert EngineCache(stored.folder, trusted=True).load(KEY).engine == b'engine'


def test_lock_behind_a_link_is_not_opened(tmp_path: Path) -> None:
    cache = EngineCache(tmp_path)
    victim = tmp_path / 'victim'
    cache.path(KEY).with_suffix('.lock').symlink_to(victim)
    with pytest.raises(EngineError, match=r'\.lock is no regular file: remove it'):
        cache.obtain(KEY, lambda: (b'', {}))
    assert not victim.exists()


@pytest.mark.parametrize('suffix', ['.engine', '.json', '.lock'])
def test_pipes_hang_nobody(stored: EngineCache, suffix: str) -> None:
    file = stored.path(KEY).with_suffix(suffix)
    file.unlink(missing_ok=True)
    os.mkfifo(file)
    if suffix == '.lock':
        stored.path(KEY).unlink()
    with pytest.raises(EngineError, match=rf'\{suffix} is no regular file'):
        stored.obtain(KEY, lambda: (b'engine', {}))


def test_folder_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / 'engines').touch()
    with pytest.raises(EngineError, match='Not a directory: make it writable'):
        EngineCache(tmp_path / 'engines').obtain(KEY, lambda: (b'', {}))


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        (b'{"key": ' + b'[' * 100_000, 'nested too deeply|not JSON'),
        (b'{"bytes": ' + b'9' * 5000 + b'}', 'too large'),
        (b'\xff\xfe', 'expected UTF-8'),
        (b'{"format": 1, "format": 1}', 'given twice'),
        (b'{"format": NaN}', 'finite'),
        (b' ' * (17 << 20), 'expected at most 16777216 bytes'),
    ],
)
def test_hostile_sidecars(stored: EngineCache, content: bytes, message: str) -> None:
    file = stored.path(KEY).with_suffix('.json')
    file.write_bytes(content)
    with pytest.raises(EngineError, match=message):
        stored.load(KEY)
