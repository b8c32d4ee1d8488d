"""What killed processes left in shared memory is reported with the command that frees it."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest

from yolox_trt_ros.doctor.finding import Severity, Wanted
from yolox_trt_ros.doctor.memory import shared_memory
from yolox_trt_ros.ros.dds import segments


def test_segments_nobody_uses_are_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segments, 'JUST_MADE_S', -1.0)
    (clean,) = shared_memory(Wanted(), tmp_path)
    assert clean.level is Severity.OK
    for name in ('fastdds_00000000000000aa', 'fastdds_00000000000000bb'):
        (tmp_path / name).write_bytes(b'\0' * (1 << 20))
        (tmp_path / f'{name}_el').touch()
    with (tmp_path / 'fastdds_00000000000000bb_el').open('rb') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # as the process that uses it does
        (found,) = shared_memory(Wanted(), tmp_path)
    assert (
        found.level is Severity.WARN and '1 files' in found.message and '1.0 MiB' in found.message
    )
    assert found.remedy == 'fastdds shm clean (a starting node does that too)'
    if os.geteuid() == 0:
        os.chown(tmp_path / 'fastdds_00000000000000aa', 65534, 65534)
        (other,) = shared_memory(Wanted(), tmp_path)
        assert f'sudo rm {tmp_path}/fastdds_00000000000000aa*' in other.remedy
