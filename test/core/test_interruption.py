"""What signals do to a program, in processes of their own."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HEAD = """
import contextlib, os, signal, sys, threading, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have switched it off
from yolox_trt_ros.core.interruption import *
from yolox_trt_ros.core import interruption
def send(number=signal.SIGINT):
    os.kill(os.getpid(), number)
    time.sleep(0.05)
"""
SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


def run(code: str, *options: str) -> subprocess.CompletedProcess[str]:
    command = [*options, sys.executable, '-c', HEAD + code]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize('number', SIGNALS)
def test_while_it_imports_a_program_leaves_at_once(number: signal.Signals) -> None:
    done = run(f'leave_on_signals(9); send({number:d}); print("went on")')
    assert (done.returncode, done.stdout, done.stderr) == (9, '', '')


@pytest.mark.parametrize('number', SIGNALS)
def test_a_tool_is_interrupted_once(number: signal.Signals) -> None:
    done = run(
        f"""
with raise_on_signals():
    try:
        send({number:d})
    except KeyboardInterrupt:
        send({number:d})  # from the launch program, too
        print('cleaned up')
"""
    )
    assert (done.returncode, done.stdout) == (0, 'cleaned up\n'), done.stderr


def test_a_clean_up_is_not_interrupted() -> None:
    done = run(
        """
interruption.REPEAT_S = 0.0
with raise_on_signals():
    try:
        with held_back():
            with held_back():
                send(); send(signal.SIGTERM)
            print('cleaned up')
        print('too far')
    except KeyboardInterrupt:
        print('then interrupted')
    time.sleep(0.05)
print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)
"""
    )
    assert done.stdout == 'cleaned up\nthen interrupted\nTrue\n', done.stderr


def test_what_a_clean_up_raises_is_not_hidden() -> None:
    done = run('with raise_on_signals(), held_back():\n    send(); raise ValueError("it")')
    assert 'ValueError: it' in done.stderr and done.returncode == 1


def test_nohup_holds() -> None:
    done = run(
        'leave_on_signals(9)\nwith raise_on_signals(): send(signal.SIGHUP); print("still here")',
        'nohup',
    )
    assert (done.returncode, done.stdout) == (0, 'still here\n'), done.stderr


def test_a_guest_leaves_the_signals_of_others_alone() -> None:
    done = run(
        """
signal.signal(signal.SIGTERM, lambda *_: print('mine'))
with raise_on_signals(guest=True):
    send(signal.SIGTERM)
    try:
        send(signal.SIGHUP)
    except KeyboardInterrupt:
        print('interrupted')
"""
    )
    assert done.stdout == 'mine\ninterrupted\n', done.stderr


def test_after_its_terminal_is_gone_a_tool_can_still_write(tmp_path: Path) -> None:
    """Its last words and its bag: writing to a terminal that is gone fails."""
    code = f"""
with raise_on_signals():
    try:
        print('up', flush=True); time.sleep(60)
    except KeyboardInterrupt:
        print('last words', flush=True); print('more', file=sys.stderr, flush=True)
        open({str(tmp_path / 'done')!r}, 'w').write('bag')
"""
    pid, terminal = pty.fork()
    if not pid:
        os.execv(sys.executable, [sys.executable, '-c', HEAD + code])
    assert b'up' in os.read(terminal, 100)
    os.close(terminal)  # the kernel sends SIGHUP
    assert os.waitpid(pid, 0)[1] == 0
    assert (tmp_path / 'done').read_text() == 'bag'


def test_a_thread_in_native_code_does_not_abort_the_end() -> None:
    """ONNX Runtime, say, which calls back into an interpreter that is no more."""
    pytest.importorskip('onnxruntime')
    code = f"""
import onnxruntime
path = {str(ROOT / 'models/edge_s.onnx')!r}
def load():
    while True:
        onnxruntime.InferenceSession(path, providers=['CPUExecutionProvider'])
for _ in range(3):
    threading.Thread(target=load, daemon=True).start()
time.sleep(0.3)
print('said', flush=False)
leave(5)
"""
    done = run(code)
    assert (done.returncode, done.stdout) == (5, 'said\n'), done.stderr
    assert 'terminate' not in done.stderr
