"""Processes end with the one that started them, however that ends."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from yolox_trt_ros.core import children
from yolox_trt_ros.core.interruption import LIFELINE

CHILD = (
    'from yolox_trt_ros.core.interruption import begin; begin(7)\n'
    'import time; print("up", flush=True); time.sleep(60)'
)
PARENT = (
    'import sys, time; from yolox_trt_ros.core import children\n'
    f'child = children.start([sys.executable, "-c", {CHILD!r}], stdout=-1, text=True, '
    'start_new_session=True)\n'
    'child.stdout.readline(); print(child.pid, flush=True); time.sleep(60)'
)
PATIENCE_S = 20.0


def gone(pid: int) -> bool:
    """Wait for a process that is not ours to end; whoever adopts it may not reap it."""
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        try:
            with open(f'/proc/{pid}/stat', 'rb') as stat:
                if stat.read().rpartition(b')')[2].split()[0] == b'Z':
                    return True
        except FileNotFoundError:
            return True
        time.sleep(0.05)
    return False


@pytest.fixture
def child() -> Iterator[subprocess.Popen[str]]:
    process = children.start(
        [sys.executable, '-c', CHILD], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stdout and process.stdout.readline() == 'up\n'
    yield process
    process.kill()
    process.communicate()


@pytest.mark.parametrize('how', [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP])
def test_a_killed_parent_takes_its_child_with_it(how: signal.Signals) -> None:
    parent = subprocess.Popen([sys.executable, '-c', PARENT], stdout=subprocess.PIPE, text=True)
    assert parent.stdout
    pid = int(parent.stdout.readline())
    parent.send_signal(how)
    parent.communicate()
    try:
        assert gone(pid)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def test_a_child_outlives_the_thread_that_started_it() -> None:
    started = []
    command = [sys.executable, '-c', CHILD]
    thread = threading.Thread(
        target=lambda: started.append(children.start(command, stdout=subprocess.PIPE, text=True))
    )
    thread.start()
    thread.join()
    (process,) = started
    assert process.stdout.readline() == 'up\n'
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.5)
    assert children.stop(process) == 7
    process.stdout.close()


def test_a_child_is_not_handed_on(child: subprocess.Popen[str]) -> None:
    """A later child must not hold the pipe's end that keeps the first one alive."""
    other = children.start(['sleep', '60'])
    assert LIFELINE not in os.environ
    pipes = [
        path
        for path in Path(f'/proc/{other.pid}/fd').iterdir()
        # It may still be opening its libraries.
        if int(path.name) > 2 and os.path.realpath(path).rpartition('/')[2].startswith('pipe:')
    ]
    assert len(pipes) == 1  # its own lifeline
    children.stop(other)
    assert child.poll() is None


def test_a_child_that_does_not_listen_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(children, 'STOP_S', 0.5)
    deaf = 'import signal, time; signal.signal(15, signal.SIG_IGN); print(); time.sleep(60)'
    process = children.start([sys.executable, '-uc', deaf], stdout=subprocess.PIPE)
    assert process.stdout
    process.stdout.readline()
    assert children.stop(process) == -signal.SIGKILL
    process.stdout.close()


def test_what_takes_too_long_is_asked_to_end() -> None:
    with pytest.raises(subprocess.TimeoutExpired):
        children.run([sys.executable, '-c', CHILD], timeout_s=1.0)


def test_a_program_run_to_its_end_returns_what_it_wrote() -> None:
    command = [sys.executable, '-c', 'import sys; print(1); print(2, file=sys.stderr); sys.exit(3)']
    done = children.run(command)
    assert (done.returncode, done.stdout, done.stderr) == (3, '1\n', '2\n')


@pytest.mark.parametrize('value', ['', 'x', '-1', '0', '77', '9' * 30])
def test_a_lifeline_that_is_none_is_left_alone(value: str) -> None:
    """Such as that of a program in between, which closed it."""
    command = [sys.executable, '-c', f'{CHILD.splitlines()[0]}\nprint("well")']
    done = subprocess.run(
        command, env={**os.environ, LIFELINE: value}, stdin=subprocess.DEVNULL, capture_output=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b'well\n', b'')
