"""Goldens: what counts as the same, what is reported, and how they are changed."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from yolox_trt_ros.core.detections import Detections
from yolox_trt_ros.core.errors import ConfigError
from yolox_trt_ros.testing import GoldenMismatchError, Replayed, Result, Tolerances, check
from yolox_trt_ros.testing.golden import unmatched
from yolox_trt_ros.testing.golden_file import Golden, golden_text, read_golden

pytest_plugins = ['pytester']
LABELS = ('car', 'person', 'bus')
Row = tuple[float, float, float, float, float, int]


def found(rows: Sequence[Row]) -> Detections:
    table = np.array(rows, np.float32).reshape(-1, 6)
    return Detections(table[:, :4].copy(), table[:, 4].copy(), table[:, 5].astype(np.int32))


def replayed(rows: Sequence[Row], **more: Sequence[Row]) -> Replayed:
    cameras = {'front': [Result(10**9, found(rows))]}
    cameras |= {name: [Result(10**9, found(r))] for name, r in more.items()}
    return Replayed(Path('town'), LABELS, cameras)


@st.composite
def tables(draw: st.DrawFn) -> list[Row]:
    rows = []
    for _ in range(draw(st.integers(0, 12))):
        x, y = (draw(st.integers(0, 900)) for _ in range(2))
        w, h = (draw(st.integers(10, 300)) for _ in range(2))
        score, kind = draw(st.integers(30, 99)) / 100, draw(st.integers(0, 2))
        rows.append((float(x), float(y), float(x + w), float(y + h), score, kind))
    return rows


@given(tables(), st.randoms(use_true_random=False), st.floats(-0.009, 0.009))
def test_order_and_small_differences_do_not_count(
    rows: list[Row], random: Random, by: float
) -> None:
    other = [(x1, y1, x2 + 0.1, y2, score + by, kind) for x1, y1, x2, y2, score, kind in rows]
    random.shuffle(other)
    assert unmatched(found(rows), found(other), Tolerances(0.9, 0.01)) == ((), ())


@given(tables(), st.data())
def test_a_missing_box_is_found_and_no_other(rows: list[Row], data: st.DataObject) -> None:
    rows = list(dict.fromkeys(rows))
    if not rows:
        return
    gone = data.draw(st.integers(0, len(rows) - 1))
    left = rows[:gone] + rows[gone + 1 :]
    exact = Tolerances(1.0, 0.0)
    assert unmatched(found(rows), found(left), exact) == ((gone,), ())
    assert unmatched(found(left), found(rows), exact) == ((), (gone,))


@pytest.mark.parametrize(
    'row',
    [
        (10, 10, 60, 52, 0.5, 0),  # overlap 40 × 50 of 42 × 50: 0.952, but for iou 0.97
        (10, 10, 60, 50, 0.53, 0),
        (10, 10, 60, 50, 0.5, 1),
    ],
)
def test_another_place_score_or_class_is_another_box(row: Row) -> None:
    tolerances = Tolerances(0.97, 0.02)
    pair = found([(10, 10, 60, 50, 0.5, 0)]), found([row])
    assert unmatched(*pair, tolerances) == ((0,), (0,))


@given(tables(), tables())
def test_a_golden_is_read_as_it_was_written(front: list[Row], rear: list[Row]) -> None:
    written = replayed(front, rear=rear)
    text = golden_text(written, Tolerances(0.8, 0.1, 3))
    json.loads(text)
    golden = _read(text)
    assert golden.tolerances == Tolerances(0.8, 0.1, 3)
    for name, results in written.cameras.items():
        (was,), (now,) = results, golden.cameras[name]
        assert was.stamp_ns == now.stamp_ns
        assert unmatched(was.detections, now.detections, Tolerances(0.99, 1e-4)) == ((), ())


def _read(text: str) -> Golden:
    with tempfile.NamedTemporaryFile('w', suffix='.json') as file:
        file.write(text)
        file.flush()
        return read_golden(Path(file.name), LABELS)


def test_a_golden_is_readable(tmp_path: Path) -> None:
    check(replayed([(1, 2, 30, 40, 0.875, 2)]), tmp_path / 'g.json', update=True)
    assert (
        '   {"stamp_ns": 1000000000, "detections": '
        '[{"class": "bus", "score": 0.875, "box": [1.0, 2.0, 30.0, 40.0]}]}\n'
    ) in (tmp_path / 'g.json').read_text()


def test_an_update_keeps_the_tolerances_of_the_file(tmp_path: Path) -> None:
    file = tmp_path / 'g.json'
    check(replayed([]), file, update=True, iou=0.7)
    check(replayed([(1, 2, 30, 40, 0.9, 2)]), file, update=True, allowed_misses=2)
    golden = read_golden(file, LABELS)
    assert golden.tolerances == Tolerances(iou=0.7, allowed_misses=2)
    assert len(golden.cameras['front'][0].detections) == 1


def test_a_class_that_the_model_does_not_know_any_more_is_reported(tmp_path: Path) -> None:
    file = tmp_path / 'g.json'
    check(replayed([(1, 2, 30, 40, 0.9, 2)]), file, update=True)
    file.write_text(file.read_text().replace('"bus"', '"tram"'))
    with pytest.raises(GoldenMismatchError, match=r'missing tram 0\.900 \[1 2 30 40\]'):
        check(replayed([(1, 2, 30, 40, 0.9, 2)]), file)


def test_wrong_files_and_tolerances_are_reported(tmp_path: Path) -> None:
    file = tmp_path / 'g.json'
    with pytest.raises(GoldenMismatchError, match='there is no golden yet'):
        check(replayed([]), file)
    file.write_text('{"format": 9}')
    with pytest.raises(ConfigError, match=r'not a golden file.*expected format 1, got 9'):
        check(replayed([]), file)
    with pytest.raises(ConfigError, match='no tolerance scores — did you mean "score"'):
        check(replayed([]), file, scores=1)
    with pytest.raises(ConfigError, match='expected iou above 0'):
        Tolerances(iou=0.0)


TEST = """
from pathlib import Path
import numpy as np
import pytest
from yolox_trt_ros.core.detections import Detections
from yolox_trt_ros.testing import Replayed, Result

@pytest.mark.parametrize('light', ['day'])
def test_crossing(golden, light):
    boxes = np.array([[10, 10, SIZE, 50]], np.float32)
    found = Detections(boxes, np.array([0.5], np.float32), np.array([0], np.int32))
    golden(Replayed(Path('town'), ('car',), {'front': [Result(1, found)]}), iou=0.9)
"""


def test_the_plugin_compares_and_updates(pytester: pytest.Pytester) -> None:
    pytester.makeconftest("pytest_plugins = ['yolox_trt_ros.testing.plugin']")
    options = ('-p', 'no:cacheprovider', '-p', 'no:launch_testing', '-p', 'no:launch_pytest')

    def run(size: int, *more: str) -> pytest.RunResult:
        pytester.makepyfile(test_drive=TEST.replace('SIZE', str(size)))
        return pytester.runpytest_inprocess(*options, *more)

    missing = run(60)
    missing.assert_outcomes(failed=1)
    missing.stdout.fnmatch_lines('*there is no golden yet: run with --update-goldens*')
    run(60, '--update-goldens').assert_outcomes(passed=1)
    assert (pytester.path / 'goldens' / 'test_crossing_day.json').is_file()
    run(60).assert_outcomes(passed=1)
    run(61).assert_outcomes(passed=1)
    changed = run(90)
    changed.assert_outcomes(failed=1)
    changed.stdout.fnmatch_lines(
        ['*front at 0.000: missing car 0.500 *10 10 60 50*', '*extra car*']
    )
