"""The rendered world is rendered once and kept."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from test_sim_sources import config

from yolox_trt_ros.core.errors import ConfigError, StoppedError, YoloxTrtRosError
from yolox_trt_ros.sim import loops
from yolox_trt_ros.sim.streams import CameraStreams
from yolox_trt_ros.sim.world_source import WorldSource, prerender, remove_drafts


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    pytest.importorskip('panda3d', reason='the rendered world needs panda3d')
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    return tmp_path


SMALL = {'rate_hz': 1.0, 'rig.width': 96, 'rig.height': 64}


def test_world_is_rendered_once_and_kept(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cameras = config({'a': SMALL, 'b': SMALL | {'rig.yaw_deg': 180.0}}, source='world')
    sources = [WorldSource(0, c) for c in cameras.cameras]
    messages: list[str] = []
    prerender(sources, messages.append)
    assert messages[-1] == 'rendered 10 of 10 pictures'
    assert not any(source.missing() for source in sources)
    pictures = [source.picture(2) for source in sources]
    assert pictures[0].shape == (64, 96, 3)
    assert not np.array_equal(*pictures)
    truth = sources[0].truth(2)
    assert truth.xyxy.shape == (len(truth), 4)
    # Another seed or another rig is another loop.
    assert len(WorldSource(1, cameras.cameras[0]).missing()) == 5
    monkeypatch.setattr(loops, 'prerender', lambda *_: None)
    streams = CameraStreams(cameras, lambda shot: None)
    assert len(streams.loop('a').truth(2) or ()) == len(truth)


def test_a_cut_picture_is_rendered_again(cache: Path) -> None:
    """As a power failure leaves it: names are on the disk before the contents."""
    source = WorldSource(0, config({'a': SMALL}).cameras[0])
    whole, truth = source.picture(0), source.truth(0)
    for content in (b'', b'half'):
        for suffix in ('.jpg', '.npz'):
            source._file(0, suffix).write_bytes(content)
        assert len(source.missing()) == 4 + (not content)
        again = WorldSource(0, config({'a': SMALL}).cameras[0])
        assert np.array_equal(again.truth(0).xyxy, truth.xyxy)
        assert again.picture(0).shape == whole.shape  # which the renderer never draws twice alike


def test_drafts_of_killed_processes_are_removed(cache: Path) -> None:
    source = WorldSource(0, config({'a': SMALL}).cameras[0])
    folder = source._file(0, '').parent
    folder.mkdir(parents=True)
    for name, age_s in (('0000.77.jpg', 3600), ('0000.77.npz', 3600), ('0001.78.jpg', 1)):
        (folder / name).touch()
        os.utime(folder / name, (time.time() - age_s,) * 2)
    remove_drafts(folder)
    assert [file.name for file in folder.iterdir()] == ['0001.78.jpg']


def test_rendering_is_given_up_and_leaves_no_process(cache: Path) -> None:
    sources = [WorldSource(seed, config({'a': SMALL}).cameras[0]) for seed in range(20)]
    begun = time.monotonic()
    with pytest.raises(StoppedError):
        prerender(sources, lambda message: None, lambda: time.monotonic() > begun + 0.5)
    assert any(source.missing() for source in sources)
    children = Path(f'/proc/self/task/{threading.get_native_id()}/children').read_text()
    commands = [Path(f'/proc/{pid}/cmdline').read_bytes() for pid in children.split()]
    assert not [command for command in commands if b'sim.world_source' in command]


def test_cache_folder_that_cannot_be_written(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (cache / 'file').write_text('')
    monkeypatch.setenv('XDG_CACHE_HOME', str(cache / 'file'))
    source = WorldSource(0, config({'a': SMALL}).cameras[0])
    with pytest.raises(ConfigError, match='XDG_CACHE_HOME'):
        source.picture(0)
    with pytest.raises(YoloxTrtRosError, match='XDG_CACHE_HOME'):
        prerender([source], lambda message: None)
