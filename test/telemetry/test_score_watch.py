"""A model that is sure of little is noticed, camera by camera."""

from __future__ import annotations

import numpy as np

from yolox_trt_ros.telemetry.score_watch import IMAGES, LEAST, ScoreWatch


def scores(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


def watched(*results: np.ndarray) -> ScoreWatch:
    watch = ScoreWatch()
    for result in results:
        watch.add('front', result)
    return watch


def test_many_weak_detections_are_conspicuous() -> None:
    weak = watched(*[scores(0.35, 0.45, 0.55, 0.9)] * (LEAST // 4 + 1))
    assert 'only 25% of 152 detections have a score of 0.7 or more' in weak.hint('front')
    assert weak.hint('rear') == ''


def test_detections_of_a_model_at_home_are_not() -> None:
    assert watched(*[scores(0.35, 0.75, 0.95)] * LEAST).hint('front') == ''


def test_a_few_are_no_evidence_and_none_are_none() -> None:
    assert watched(*[scores(0.4)] * (LEAST - 1)).hint('front') == ''
    assert watched(*[scores()] * IMAGES).hint('front') == ''


def test_lower_scores_that_are_published_do_not_count() -> None:
    assert watched(*[scores(0.05, 0.1, 0.2, 0.9)] * LEAST).hint('front') == ''


def test_it_forgets() -> None:
    watch = watched(*[scores(0.35, 0.4)] * LEAST)
    assert watch.hint('front')
    for _ in range(IMAGES):
        watch.add('front', scores(0.9))
    assert watch.hint('front') == ''
