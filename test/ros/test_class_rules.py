"""Which classes a node detects, what it calls them and where: by file, and while it runs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from matching import differences
from peer import LATCHED, Peer, compressed_message, image_message, rows
from rig import SECOND, Rig, dropped, noise, open_rig
from tiny_models import LABELS
from vision_msgs.msg import Detection2DArray, LabelInfo

pytestmark = [pytest.mark.ros, pytest.mark.timeout(400)]
SEED = 6
Row = tuple[str, float, float]
"""Class, score, and the y of the box's centre."""


@pytest.fixture(scope='module')
def rig(peer: Peer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    folder = tmp_path_factory.mktemp('classes')
    (folder / 'map.yaml').write_text('vehicle: [car, bus]\n')
    (folder / 'wrong.yaml').write_text('vehicle: [lorry]\n')
    given = {
        'class_id_format': 'name',
        'model.classes': ['car', 'person'],
        'cameras.packed.crop': '96x64+20+10',
    }
    with open_rig(peer, folder, 'classes', **given) as opened:
        yield opened


@pytest.fixture(scope='module')
def folder(rig: Rig) -> Path:
    return Path(rig.model).parent


@pytest.fixture(scope='module')
def labels(rig: Rig) -> list[Any]:
    return rig.peer.listen(LabelInfo, f'{rig.node.name}/label_info', LATCHED)


def seen(rig: Rig) -> list[Row]:
    message: Detection2DArray = rig.answer(image_message(noise(SEED), rig.next_stamp()))
    return [
        (d.results[0].hypothesis.class_id, d.results[0].hypothesis.score, d.bbox.center.position.y)
        for d in message.detections
    ]


def published(rig: Rig, labels: list[Any]) -> dict[int, str]:
    message = rig.peer.until(lambda: labels and labels[-1], 'label_info')
    return {c.class_id: c.class_name for c in message.class_map}


def change(rig: Rig, name: str, value: Any) -> None:
    assert rig.peer.set_parameter(rig.node.name, name, value) == ''


def names(rows: list[Row]) -> set[str]:
    return {name for name, _, _ in rows}


def test_a_subset_is_detected_and_published(rig: Rig, labels: list[Any]) -> None:
    assert names(seen(rig)) == {'car', 'person'}
    assert published(rig, labels) == {0: 'car', 1: 'person'}


def test_classes_change_while_it_runs(rig: Rig, labels: list[Any]) -> None:
    labels.clear()
    change(rig, 'model.classes', [2])
    assert names(seen(rig)) == {'bus'} and published(rig, labels) == {2: 'bus'}
    labels.clear()
    change(rig, 'model.classes', [])
    assert names(seen(rig)) == {*LABELS}
    assert published(rig, labels) == dict(enumerate(LABELS))


def test_names_change_while_it_runs(rig: Rig, folder: Path, labels: list[Any]) -> None:
    change(rig, 'model.classes', [])
    before = seen(rig)
    labels.clear()
    change(rig, 'model.class_map', str(folder / 'map.yaml'))
    after = seen(rig)
    assert names(after) == {'vehicle', 'person'}
    assert published(rig, labels) == {0: 'vehicle', 1: 'person'}
    assert len(after) <= len(before), 'a car and a bus suppress each other now'
    change(rig, 'model.class_map', '')
    assert seen(rig) == before


def test_scores_of_a_class_and_of_a_camera(rig: Rig) -> None:
    change(rig, 'model.classes', [])
    change(rig, 'model.class_thresholds', ['car=0.99'])
    assert names(seen(rig)) == {'person', 'bus'}
    change(rig, 'cameras.front.score_threshold', 0.6)
    assert min(score for _, score, _ in seen(rig)) > 0.6
    change(rig, 'cameras.front.class_thresholds', ['bus=1.0'])
    assert 'bus' not in names(seen(rig))
    change(rig, 'cameras.front.class_thresholds', [])
    change(rig, 'cameras.front.score_threshold', 0.0)
    change(rig, 'model.class_thresholds', [])


def test_ignored_parts_change_while_it_runs(rig: Rig) -> None:
    every = seen(rig)
    change(rig, 'cameras.front.ignore', ['rows 50%-'])
    above = seen(rig)
    assert 0 < len(above) < len(every)
    assert all(y < 45 for _, _, y in above), 'the image is 90 pixels high'
    change(rig, 'cameras.front.ignore', [])
    assert seen(rig) == every


def test_a_camera_may_show_a_part_of_its_images(rig: Rig) -> None:
    change(rig, 'model.classes', [])
    image = np.full((90, 120, 3), 114, np.uint8)
    image[10:74, 20:116] = noise(SEED, 64, 96)
    png = cv2.imencode('.png', image)[1].tobytes()
    answer = rig.answer(compressed_message(png, rig.next_stamp()), rig.packed_found)
    alone = rig.expected(image_message(noise(SEED, 64, 96), SECOND))
    moved = [[x1 + 20, y1 + 10, x2 + 20, y2 + 10, *rest] for x1, y1, x2, y2, *rest in alone]
    numbers = {name: str(i) for i, name in enumerate(LABELS)}
    for found in answer.detections:
        found.results[0].hypothesis.class_id = numbers[found.results[0].hypothesis.class_id]
    assert moved and not differences(rows(answer), moved, 0.999, 1e-4)

    small = cv2.imencode('.png', noise(SEED, 50, 60))[1].tobytes()
    rig.packed.publish(compressed_message(small, rig.next_stamp()))
    rig.peer.until(lambda: 'crop 96x64+20+10 does not lie inside' in rig.node.log, 'the refusal')
    assert dropped(rig.camera_status('packed'))['unsupported'] == 1


@pytest.mark.parametrize(
    ('name', 'value', 'reason'),
    [
        ('model.classes', ['persn'], 'model.classes: there is no class "persn" — did you mean'),
        ('model.classes', ['7'], 'there is no class "7"'),
        ('model.class_map', 'wrong.yaml', 'the model has no class "lorry"'),
        ('model.class_map', 'none.csv', 'there is no such file'),
        ('model.class_thresholds', ['car=2'], 'expected CLASS=SCORE'),
        ('model.class_thresholds', ['caar=0.2'], 'did you mean "car"'),
        ('cameras.front.class_thresholds', ['vus=0.2'], 'did you mean "bus"'),
        ('cameras.front.ignore', ['row 1-2'], 'did you mean "rows"'),
    ],
)
def test_what_there_is_not_is_refused(
    rig: Rig, folder: Path, name: str, value: Any, reason: str
) -> None:
    given = str(folder / value) if name == 'model.class_map' else value
    before = seen(rig)
    assert reason in rig.peer.set_parameter(rig.node.name, name, given)
    assert seen(rig) == before
