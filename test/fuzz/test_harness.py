"""The harness counts what kills, hangs or escapes a target, and goes on behind it."""

from __future__ import annotations

import os
import random
import signal
import time

from harness import Target, case, run


def number_of(source: random.Random) -> int:
    return source.randrange(20)


def feed(number: int) -> None:
    if number == 3:
        os.kill(os.getpid(), signal.SIGSEGV)
    if number == 4:
        time.sleep(60.0)
    if number == 5:
        raise ZeroDivisionError
    if number == 6:
        raise ValueError('this target says so on purpose')
    if number == 7:
        bytearray(8 << 30)


BAD = Target('bad', number_of, feed, (ValueError,), seconds=0.3, memory_mib=512)


def test_everything_is_counted() -> None:
    inputs = [case(BAD, 1, i) for i in range(60)]
    result = run(BAD, 60, jobs=2)
    assert result.inputs == 60
    assert (result.crashes, result.hangs) == (inputs.count(3), inputs.count(4))
    assert result.tracebacks == inputs.count(5) + inputs.count(7)
    assert not result.clean
    errors = {finding.get('error') for finding in result.findings}
    assert {'ZeroDivisionError()', 'MemoryError()'} <= errors


def test_a_case_is_made_from_seed_and_number_alone() -> None:
    assert [case(BAD, 1, i) for i in range(9)] == [case(BAD, 1, i) for i in range(9)]
    assert [case(BAD, 1, i) for i in range(9)] != [case(BAD, 2, i) for i in range(9)]


def test_nothing_found_is_clean() -> None:
    assert run(Target('good', number_of, abs, ()), 500).clean


def test_no_case_is_left_out() -> None:
    quick = Target('quick', number_of, abs, (), seconds=5.0)
    result = run(quick, 60_000)
    assert (result.inputs, result.hangs) == (60_000, 0)
