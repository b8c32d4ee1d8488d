"""Build an engine in a process of its own, which can be ended at any moment.

Before version 10 nothing stops a build inside TensorRT, and a program that ends meanwhile aborts in
its log. So such a build runs in a child process: Ctrl-C, the end of the node, and its being killed
end the child too, and what TensorRT takes for building is free again afterwards.

The child is asked on its standard input and answers on its standard output, with pickled tuples.
"""

from __future__ import annotations

import logging
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from typing import Any, BinaryIO, NamedTuple

from yolox_trt_ros.core import children
from yolox_trt_ros.core.errors import EngineError, YoloxTrtRosError
from yolox_trt_ros.core.interruption import end_with_parent, ending_signals, leave_at_once
from yolox_trt_ros.core.threads import named_thread
from yolox_trt_ros.engine.builder import Built, build_engine
from yolox_trt_ros.engine.model_facts import ModelFacts
from yolox_trt_ros.engine.options import BuildOptions
from yolox_trt_ros.engine.progress import Progress
from yolox_trt_ros.engine.tensorrt_versions import load_tensorrt

TICK_S = 1.0
"""Longest time between two reports."""

_package = logging.getLogger('yolox_trt_ros')


class Request(NamedTuple):
    """What a child is asked to build.

    Attributes:
        model, options, timing_cache: see :func:`engine.builder.build_engine`.
        level: of the log lines that are wanted, as :mod:`logging` counts them.
    """

    model: ModelFacts
    options: BuildOptions
    timing_cache: bytes
    level: int


def build_in_process(
    model: ModelFacts,
    options: BuildOptions,
    report: Progress = lambda fraction, phase: None,
    timing_cache: bytes = b'',
) -> Built:
    """Build an engine as :func:`engine.builder.build_engine` does, in a child process.

    An exception in the calling thread, such as the KeyboardInterrupt of Ctrl-C or what ``report``
    raises, ends the child and goes on. If this process ends, the child does.

    Args:
        model, options, timing_cache: see there.
        report: called with how far it is, every :data:`TICK_S` at the latest.

    Raises:
        ConfigError, ModelError, EngineError: see there; or the child ended by itself.
    """
    process = children.start(
        [sys.executable, '-m', __name__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, 'PYTHONPATH': os.pathsep.join(filter(None, sys.path))},
        start_new_session=True,  # a Ctrl-C in the terminal is for this process, which ends it then
    )
    request = Request(model, options, timing_cache, _package.getEffectiveLevel())
    with process:
        try:
            return _attend(process, request, report)
        except (EOFError, ConnectionError, pickle.UnpicklingError) as error:
            code = children.stop(process)  # it has ended, or is about to
            raise EngineError(f'{model.path}: {_ending(code)} while it built an engine') from error
        except BaseException:
            children.stop(process)
            raise


def _attend(process: subprocess.Popen[bytes], request: Request, report: Progress) -> Built:
    """Ask a child and pass on what it says, until it is done."""
    assert process.stdin and process.stdout
    pickle.dump(request, process.stdin)
    process.stdin.close()
    while True:
        kind, *values = pickle.load(process.stdout)
        if kind == 'progress':
            report(*values)
        elif kind == 'log':
            name, level, line = values
            logging.getLogger(name).log(level, '%s', line)
        elif kind == 'error':
            raise values[0]
        else:
            built: Built = values[0]
            return built


def _ending(code: int) -> str:
    try:
        name = signal.Signals(-code).name
    except ValueError:
        return f'TensorRT’s process ended with exit code {code}'
    why = ': mostly for want of memory' if name == 'SIGKILL' else ''
    return f'TensorRT’s process was ended by {name}{why}'


class _Answers(logging.Handler):
    """Sends what happens to the parent; log records too."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__()
        self._file = file
        self._whole = threading.Lock()

    def send(self, *parts: Any) -> None:
        """Send a tuple; any thread may."""
        with self._whole:
            pickle.dump(parts, self._file)
            self._file.flush()

    def emit(self, record: logging.LogRecord) -> None:
        """Send a log record."""
        self.send('log', record.name, record.levelno, record.getMessage())


class _Reports:
    """Sends how far a build is; the last report again and again while nothing new comes."""

    def __init__(self, answers: _Answers) -> None:
        self._answers = answers
        self._last = 0.0, ''
        named_thread(self._repeat, 'build reports').start()

    def __call__(self, fraction: float, phase: str) -> None:
        self._last = fraction, phase
        self._answers.send('progress', fraction, phase)

    def _repeat(self) -> None:
        while True:
            time.sleep(TICK_S)
            self._answers.send('progress', *self._last)


def main() -> None:
    """Build what standard input asks for."""
    for number in ending_signals():
        signal.signal(number, signal.SIG_DFL)  # at once, whatever TensorRT is doing
    end_with_parent()
    answers = _Answers(os.fdopen(os.dup(1), 'wb'))
    os.dup2(2, 1)  # what native code prints is no answer
    request: Request = pickle.load(sys.stdin.buffer)
    _package.setLevel(request.level)
    _package.addHandler(answers)
    _package.propagate = False
    try:
        built = build_engine(
            load_tensorrt(),
            request.model,
            request.options,
            _Reports(answers),
            timing_cache=request.timing_cache,
        )
    except YoloxTrtRosError as error:
        answers.send('error', error)
    else:
        answers.send('built', built)
    leave_at_once(0)


if __name__ == '__main__':
    main()
