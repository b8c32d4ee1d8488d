"""Cores are divided as asked, and what cannot be divided is reported."""

from __future__ import annotations

import os
import time

import pytest

from benchmarks.support.cores import Cores, on_cores
from yolox_trt_ros.core.errors import ConfigError


def test_one_core_is_the_detectors_and_the_others_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, 'sched_getaffinity', lambda _: {4, 2, 7})
    assert Cores.divide(None) == Cores(2, (4, 7))
    assert Cores.divide(7) == Cores(7, (2, 4))
    with pytest.raises(ConfigError, match=r'expected one of \[2, 4, 7\], got 3'):
        Cores.divide(3)
    monkeypatch.setattr(os, 'sched_getaffinity', lambda _: {2})
    with pytest.raises(ConfigError, match='needs two cores'):
        Cores.divide(None)


def test_a_core_at_work_is_busy() -> None:
    (core, *_) = sorted(os.sched_getaffinity(0))
    before, everywhere = Cores(-1, (core,)).others_busy_s(), os.sched_getaffinity(0)
    with on_cores([core]):
        assert os.sched_getaffinity(0) == {core}
        end = time.process_time() + 0.1
        while time.process_time() < end:
            pass
    assert os.sched_getaffinity(0) == everywhere
    assert Cores(-1, (core,)).others_busy_s() - before >= 0.05
    assert Cores(-1, ()).others_busy_s() == 0
