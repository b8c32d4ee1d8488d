"""Limits by class, renamed classes and ignored parts: on the device as on the CPU."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from test_decode import anchors, check, random_head, spec

from yolox_trt_ros.core.detections import Detections
from yolox_trt_ros.core.model import Thresholds
from yolox_trt_ros.core.regions import edges_of
from yolox_trt_ros.core.rules import Rules

LABELS = tuple(f'class {i}' for i in range(80))


def rules(*, keep: Any = slice(None), score: float = 0.3, **changes: Any) -> Rules:
    """Return rules that leave all classes out but ``keep``."""
    scores = np.full(80, np.inf, np.float32)
    scores[keep] = score
    values = {'class_ids': np.arange(80, dtype=np.int32), 'labels': LABELS, **changes}
    return Rules(scores, **values)


def limits(of: Rules, **changes: Any) -> Thresholds:
    return Thresholds(of.lowest, rules=of, **changes)


@pytest.fixture(scope='module')
def head() -> np.ndarray:
    return random_head(spec('per_level', 'logit'), 3, seed=21)


@pytest.mark.parametrize('class_agnostic', [False, True])
def test_classes_that_are_left_out(class_agnostic: bool, head: np.ndarray, device: Any) -> None:
    model = spec('per_level', 'logit')
    every = check(device, model, head, Thresholds(class_agnostic=class_agnostic))
    few = check(device, model, head, limits(rules(keep=[0, 2]), class_agnostic=class_agnostic))
    assert {1, 3} & {*every[0].class_id} and {*few[0].class_id} == {0, 2}
    if not class_agnostic:
        for all_of_them, some in zip(every, few, strict=True):
            chosen = all_of_them[np.isin(all_of_them.class_id, [0, 2])]
            assert np.array_equal(chosen.xyxy, some.xyxy), 'others suppressed them'


def test_an_anchor_whose_best_class_is_not_wanted_is_none_of_another(device: Any) -> None:
    model = spec('concatenated', 'probability')
    head = np.zeros((1, anchors(model), 85), np.float32)
    head[0, 0, 4:7] = 1, 0.9, 0.8
    wanted = rules(keep=[1])
    assert len(check(device, model, head, limits(wanted, class_agnostic=True))[0]) == 0
    assert len(check(device, model, head, limits(wanted))[0]) == 1


@pytest.mark.parametrize('class_agnostic', [False, True])
def test_each_class_has_its_own_score(class_agnostic: bool, head: np.ndarray, device: Any) -> None:
    model = spec('per_level', 'logit')
    own = rules(score=0.8)
    own.scores[1] = 0.2
    found = check(device, model, head, limits(own, class_agnostic=class_agnostic))[0]
    low = found.score[found.class_id == 1].min()
    assert 0.2 < low < 0.8 < found.score[found.class_id != 1].min()


@pytest.mark.parametrize('class_agnostic', [False, True])
def test_classes_become_one_before_they_suppress(
    class_agnostic: bool, head: np.ndarray, device: Any
) -> None:
    model = spec('per_level', 'logit')
    merged = rules(class_ids=np.arange(80, dtype=np.int32) // 40, labels=('few', 'many'))
    found = check(device, model, head, limits(merged, class_agnostic=class_agnostic))[0]
    assert found.labels == ('few', 'many') and {*found.class_id} <= {0, 1}
    plain = check(device, model, head, Thresholds(class_agnostic=class_agnostic))[0]
    assert (len(found) < len(plain)) != class_agnostic


def test_what_is_left_out_takes_no_place_among_the_best(device: Any) -> None:
    """2,000 unwanted candidates, all better than the one that counts."""
    model = spec('concatenated', 'probability')
    head = np.zeros((1, anchors(model), 85), np.float32)
    head[0, :, 4] = 1
    head[0, :, 5:10], head[0, -1, 20] = 0.9, 0.5
    assert anchors(model) * 5 > 2000
    found = check(device, model, head, limits(rules(keep=[15])))[0]
    assert found.class_id.tolist() == [15]


@pytest.mark.parametrize('class_agnostic', [False, True])
@pytest.mark.parametrize(
    'regions', [('rows 60%-',), ('rows -100', 'polygon 50,20 300,60 260,280 -20,200')]
)
def test_centres_in_ignored_parts(
    regions: tuple[str, ...], class_agnostic: bool, head: np.ndarray, device: Any
) -> None:
    model = spec('per_level', 'logit')
    part = rules(edges=edges_of(regions))
    found = check(device, model, head, limits(part, class_agnostic=class_agnostic))
    free = check(device, model, head, Thresholds(class_agnostic=class_agnostic))
    for kept, every in zip(found, free, strict=True):
        assert 0 < len(kept) < len(every)
    if regions == ('rows 60%-',):
        centres = [(d.xyxy[:, 1] + d.xyxy[:, 3]) / 2 for d in found]
        assert all((y < 0.6 * 300).all() for y in centres), 'the images are 300 pixels high'


def test_every_image_of_a_batch_has_its_cameras_rules(head: np.ndarray, device: Any) -> None:
    model = spec('per_level', 'logit')
    front = limits(rules(keep=[0]))
    rear = limits(rules(score=0.5, edges=edges_of(['rows 70%-'])))
    common = limits(rules(keep=[0, 1]))
    thresholds = Thresholds(common.score, rules=common.rules, cameras={'f': front, 'r': rear})
    found = check(device, model, head, thresholds, cameras=['r', 'other', 'f'])
    assert found[0].score.min() > 0.5 and len({*found[0].class_id}) > 2
    assert {*found[1].class_id} == {0, 1}
    assert {*found[2].class_id} == {0}


def test_empty_is_a_result_too(head: np.ndarray, device: Any) -> None:
    nothing: list[Detections] = check(
        device, spec('per_level', 'logit'), head, limits(rules(edges=edges_of(['rows -9999'])))
    )
    assert [len(found) for found in nothing] == [0, 0, 0]
