"""The table of what can run a network on a GPU: order, time limit, and what is kept of a stop."""

from __future__ import annotations

import argparse
import json
import math
import time
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tiny_models import write_yolox

pytest.importorskip('rich', reason='tools need rich')
from benchmarks import command, inference
from yolox_trt_ros.core.errors import MissingDependencyError


class Stopped(BaseException):
    """What ends a benchmark in the middle."""


def missing(size: int) -> inference.Timed:
    raise MissingDependencyError('not installed\nin two lines')


def stopping(size: int) -> inference.Timed:
    raise Stopped


def never_done(size: int) -> inference.Timed:
    """Take failures for those of one of many attempts, as compilers do."""
    while True:
        with suppress(Exception):
            time.sleep(30)


def timed(ms: float) -> inference.Run:
    return lambda size: inference.Timed(ms * size, 0.5, True, 100.0)


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inference, 'CudaDevice', lambda index: SimpleNamespace(name='none'))


def asked(tmp_path: Path, *words: str) -> argparse.Namespace:
    model = str(write_yolox(tmp_path / 'm.onnx'))
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    out = str(tmp_path / 'b.json')
    return parser.parse_args(['inference', '--json', out, '--model', model, *words])


def given(monkeypatch: pytest.MonkeyPatch, **every: inference.Run) -> None:
    monkeypatch.setattr(inference, '_rows', lambda *args: every)


@pytest.mark.usefixtures('no_gpu')
def test_a_stop_costs_no_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given(monkeypatch, first=timed(1.0), second=stopping)
    with pytest.raises(Stopped):
        command.run(asked(tmp_path, '--batches', '1', '4'))
    written: dict[str, Any] = json.loads((tmp_path / 'b.json').read_text())
    assert [one['ms'] for one in written['inference']['rows']['first'].values()] == [1.0, 4.0]


@pytest.mark.usefixtures('no_gpu')
def test_what_is_missing_and_what_is_late_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given(monkeypatch, first=missing)
    args = asked(tmp_path)
    args.save = lambda result: None
    assert inference.measure(args)['rows'] == {'first': {'1': {'left_out': 'not installed'}}}
    args.budget = -1.0
    found = inference.measure(args)['rows']['first']['1']
    assert found == {'left_out': 'no time was left of --budget'}
    given(monkeypatch, first=never_done)
    args.budget = 0.2
    found = inference.measure(args)['rows']['first']['1']
    assert found['left_out'].endswith('of --budget')


def test_the_default_comes_first_and_is_compared() -> None:
    every = inference._rows(*[SimpleNamespace()] * 4)  # type: ignore[arg-type]
    assert list(every)[:2] == ['tensorrt fp16', 'onnxruntime fp16']
    assert list(every)[-1] == 'pytorch fp16, compiled graph'
    one = {'ms': 1.0, 'start_s': 1.0, 'memory_mib': 9.0, 'build_s': 60.0, 'recorded': True}
    result = {
        'gpu': 'G', 'model': 'm', 'default': 'tensorrt fp16', 'reason': 'it is installed',
        'rows': {'tensorrt fp16': {'8': one}, inference.COMPILED: {'8': one | {'ms': 2.0}}},
    }  # fmt: skip
    table = dict(inference.rows(result))
    assert table['  its time over that of torch.compile'] == '8: 0.50'
    assert table['tensorrt fp16'] == '8: 1.00 ms (1.0 s, 9 MiB, built in 60 s)'


def test_there_is_no_limit_unless_asked_for(tmp_path: Path) -> None:
    assert asked(tmp_path).budget == math.inf
