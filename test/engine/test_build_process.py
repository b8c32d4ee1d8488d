"""Builds of a TensorRT that cannot be stopped: in a child process, which ends when it should.

TensorRT 8 is a stand-in, a module that the child imports as ``tensorrt``.
"""

from __future__ import annotations

import itertools
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from host_tensorrt_builder import host_tensorrt_builder
from tensorrt_wheels import ROOT
from tiny_models import write_yolox

from yolox_trt_ros.core.errors import EngineError
from yolox_trt_ros.engine.build_process import build_in_process
from yolox_trt_ros.engine.builder import build_engine
from yolox_trt_ros.engine.model_facts import ModelFacts, model_facts
from yolox_trt_ros.engine.options import BuildOptions
from yolox_trt_ros.engine.tensorrt_versions import TensorRT

MODULE = """
import ctypes, os, pathlib, sys
import host_tensorrt_builder as host

here = pathlib.Path(__file__).parent

def work(builder):
    print('native words')
    (here / 'pid').write_text(str(os.getpid()))
    {work}

host.Builder.work = work
sys.modules['tensorrt'] = host.host_tensorrt_builder('8.6.1')
"""
# Holds the interpreter's lock, as native code may: no Python handler of a signal ever runs.
FOR_EVER = 'ctypes.PyDLL(None).sleep(300)'


@pytest.fixture
def model(tmp_path: Path) -> ModelFacts:
    return model_facts(write_yolox(tmp_path / 'm.onnx', layout='per_level', batch=1))


@pytest.fixture
def tensorrt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Return what makes a TensorRT 8 that does this at every layer; returns its folder."""

    def make(work: str) -> Path:
        folder = tmp_path / 'trt'
        folder.mkdir()
        (folder / 'tensorrt.py').write_text(MODULE.format(work=work))
        monkeypatch.syspath_prepend(str(folder))
        return folder

    return make


def pid_in(folder: Path) -> int:
    """Wait until a build is at work, and return its process."""
    file, end = folder / 'pid', time.monotonic() + 60
    while not (file.exists() and file.read_text()):
        assert time.monotonic() < end
        time.sleep(0.02)
    return int(file.read_text())


def ends(pid: int) -> bool:
    """Return whether a process ends soon."""
    end = time.monotonic() + 30
    while time.monotonic() < end:
        state = Path(f'/proc/{pid}/stat')
        if not state.exists() or state.read_text().rpartition(')')[2].split()[0] == 'Z':
            return True
        time.sleep(0.02)
    return False


def test_same_engine_as_in_this_process(
    model: ModelFacts, tensorrt: Callable[[str], Path], caplog: pytest.LogCaptureFixture
) -> None:
    tensorrt('pass')
    here: list[tuple[float, str]] = []
    there: list[tuple[float, str]] = []
    options = BuildOptions(device='dla:1')
    direct = build_engine(
        TensorRT(host_tensorrt_builder('8.6.1')), model, options, lambda *r: here.append(r)
    )
    with caplog.at_level(logging.DEBUG, 'yolox_trt_ros'):
        built = build_in_process(model, options, lambda *r: there.append(r), b'unreadable')
    assert (built.engine, built.tensors) == (direct.engine, direct.tensors)
    assert built.placement == direct.placement and built.timing_cache == direct.timing_cache
    # What is told again because nothing new came for a while says the same.
    assert [step for step, _ in itertools.groupby(there)] == here
    messages = {record.getMessage(): record.levelno for record in caplog.records}
    assert any('[DlaLayer]' in text for text in messages)


def test_errors_come_back_as_they_are(model: ModelFacts, tensorrt: Callable[[str], Path]) -> None:
    tensorrt('pass')
    with pytest.raises(EngineError, match=r'dla:2: TensorRT 8\.6\.1 finds 2 DLA cores'):
        build_in_process(model, BuildOptions(device='dla:2'))


def test_crash_inside_tensorrt_is_an_error(
    model: ModelFacts, tensorrt: Callable[[str], Path]
) -> None:
    tensorrt('os.abort()')
    with pytest.raises(EngineError, match=r'm\.onnx: .* ended by SIGABRT while it built an engine'):
        build_in_process(model, BuildOptions())


def test_report_that_raises_ends_the_build(
    model: ModelFacts, tensorrt: Callable[[str], Path]
) -> None:
    folder = tensorrt('ctypes.CDLL(None).sleep(300)')

    def fail(fraction: float, phase: str) -> None:
        pid_in(folder)
        raise EngineError('the node ends')

    with pytest.raises(EngineError, match='the node ends'):
        build_in_process(model, BuildOptions(), fail)
    assert ends(pid_in(folder))


def command(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    paths = [str(folder), str(ROOT), str(ROOT / 'test')]
    environ = {**os.environ, 'PYTHONPATH': os.pathsep.join(paths)}
    pipes: Any = {'stdout': subprocess.PIPE, 'stderr': subprocess.PIPE, 'text': True}
    line = [sys.executable, '-m', 'yolox_trt_ros', 'build', *arguments]
    return subprocess.Popen(line, env=environ, **pipes)


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_build_that_cannot_be_stopped_ends_with_the_command(
    model: ModelFacts, tensorrt: Callable[[str], Path], tmp_path: Path, number: signal.Signals
) -> None:
    folder, engines = tensorrt(FOR_EVER), tmp_path / 'engines'
    running = command(folder, str(model.path), '--folder', str(engines))
    child = pid_in(folder)
    assert child != running.pid
    running.send_signal(number)
    _, err = running.communicate(timeout=60)
    assert ends(child)
    assert [f.suffix for f in engines.iterdir()] == ['.lock']
    if number == signal.SIGKILL:
        return
    assert running.returncode == 130, err
    assert 'interrupted' in err
    assert not any(word in err for word in ('Traceback', 'Exception', 'FATAL'))


def test_the_command_builds_and_finds_the_engine_again(
    model: ModelFacts, tensorrt: Callable[[str], Path], tmp_path: Path
) -> None:
    folder, engines = tensorrt('pass'), tmp_path / 'engines'
    for state in ('"built_now": true', '"built_now": false'):
        running = command(folder, str(model.path), '--folder', str(engines), '--json')
        out, err = running.communicate(timeout=60)
        assert running.returncode == 0, err
        assert state in out and 'native words' not in out
