"""Header stamps of another clock are reported, those of the node's are not."""

from __future__ import annotations

import re

import pytest

from yolox_trt_ros.telemetry.stamps import stamp_problem

NOW, UP, SECOND = 1_700_000_000 * 10**9, 5_000 * 10**9, 10**9
SIM = 100 * SECOND


@pytest.mark.parametrize(
    ('stamp_ns', 'sim_time', 'message'),
    [
        (NOW - SECOND // 20, False, ''),
        (NOW - 5 * SECOND, False, ''),
        (NOW + SECOND // 2, False, ''),
        (0, False, 'header stamps are zero'),
        (0, True, 'header stamps are zero'),
        (UP, False, 'they count from boot'),
        (NOW + 3600 * SECOND, False, '60.0 min ahead of the node’s clock: a clock is not'),
        (NOW - 3600 * SECOND, False, '60.0 min behind the node’s clock'),
        (NOW - 400 * 86400 * SECOND, False, '400.0 days behind.*use_sim_time is missing'),
        (NOW + 3 * SECOND, False, '3.0 s ahead'),
        (SIM - SECOND, True, ''),
        (NOW, True, 'use the system clock, but the node has use_sim_time'),
        (SIM - 60 * SECOND, True, '60.0 s behind.*do not follow /clock'),
    ],
)
def test_stamps(stamp_ns: int, sim_time: bool, message: str) -> None:
    problem = stamp_problem(
        stamp_ns, SIM if sim_time else NOW, sim_time=sim_time, uptime_ns=UP, system_ns=NOW
    )
    if message:
        assert re.search(message, problem), problem
    else:
        assert problem == ''


def test_a_clock_that_never_came() -> None:
    problem = stamp_problem(NOW, 0, sim_time=True, uptime_ns=UP, system_ns=NOW)
    assert 'no /clock has arrived' in problem
