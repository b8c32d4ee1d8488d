"""Replays repeat themselves, and goldens catch what would go unnoticed: each mutant is killed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from drives import PERIOD_NS, late, photographs, record, rewrite, sidecar, vehicle, world
from tiny_models import write_yolox

from yolox_trt_ros.bags.writer import BagWriter
from yolox_trt_ros.core.errors import BagError, ConfigError
from yolox_trt_ros.core.model import InputSpec, Letterbox
from yolox_trt_ros.testing import GoldenMismatchError, Replayed, check, replay

FRAMES = 3


class Drive:
    """A bag, a vehicle, what was found, and its golden."""

    def __init__(self, folder: Path, bag: Path, model: Path, **parameters: Any) -> None:
        self.folder, self.bag, self.model, self.more = folder, bag, model, parameters
        self.vehicle = vehicle(folder / 'car.param.yaml', model, **parameters)
        self.golden = folder / 'golden.json'
        self.found = replay(bag, self.vehicle, through='pipeline')
        check(self.found, self.golden, update=True)

    def again(self, **changed: Any) -> Replayed:
        given: dict[str, Any] = {'bag': self.bag, 'vehicle': self.vehicle, 'through': 'pipeline'}
        return replay(**{**given, **changed})

    def caught(self, replayed: Replayed) -> str:
        with pytest.raises(GoldenMismatchError) as message:
            check(replayed, self.golden, pictures=self.folder)
        return str(message.value)


@pytest.fixture(scope='module')
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Drive:
    """Return a drive through the rendered world, seen by a model of random weights."""
    folder = tmp_path_factory.mktemp('world')
    bag = record(folder / 'crossing', world, FRAMES, width=480, height=270)
    return Drive(folder, bag, write_yolox(folder / 'tiny.onnx'))


@pytest.fixture(scope='module')
def trained(tmp_path_factory: pytest.TempPathFactory, real: Path) -> Drive:
    """Return a drive past real photographs, seen by a trained model."""
    folder = tmp_path_factory.mktemp('photographs')
    bag = record(folder / 'town', photographs(real / 'images'), FRAMES)
    labels = str(real / 'coco_classes.txt')
    return Drive(folder, bag, real / 'yolox_nano_coco.onnx', **{'model.labels': labels})


@pytest.fixture(params=['tiny', 'trained'])
def drive(request: pytest.FixtureRequest) -> Drive:
    found: Drive = request.getfixturevalue(request.param)
    return found


def boxes(replayed: Replayed) -> int:
    return sum(len(r.detections) for results in replayed.cameras.values() for r in results)


def test_every_image_has_a_result_and_two_runs_are_identical(drive: Drive) -> None:
    assert {name: len(results) for name, results in drive.found.cameras.items()} == {
        'front_wide': FRAMES,
        'rear_left': FRAMES,
        'rear': FRAMES,
    }
    assert boxes(drive.found) > 10
    again = drive.again()
    assert again.same_as(drive.found)
    check(again, drive.golden)


def test_a_vehicle_that_publishes_no_detections_is_refused_through_topics(tiny: Drive) -> None:
    with pytest.raises(ConfigError, match='a replay test through topics reads detections'):
        tiny.again(through='topics', parameters={'outputs': ['objects']})


@pytest.mark.ros
def test_the_node_finds_what_the_pipeline_finds_in_another_storage(tiny: Drive) -> None:
    database = rewrite(tiny.bag, tiny.folder / 'database', storage='sqlite3', compression='file')
    through_node = tiny.again(bag=database, through='topics')
    assert through_node.same_as(tiny.found)
    check(through_node, tiny.golden)


@pytest.mark.parametrize(
    'how',
    [
        {'storage': 'sqlite3'},
        {'storage': 'sqlite3', 'compression': 'message'},
        {'storage': 'mcap', 'compression': 'chunk'},
        {'storage': 'mcap', 'compression': 'file'},
    ],
    ids=lambda how: '-'.join(how.values()),
)
def test_storages_and_compressions_give_the_same(tiny: Drive, how: dict[str, Any]) -> None:
    copy = rewrite(tiny.bag, tiny.folder / '-'.join(how.values()), **how)
    assert tiny.again(bag=copy).same_as(tiny.found)


# -- mutants -------------------------------------------------------------------------------------


def test_a_changed_threshold_is_caught(drive: Drive) -> None:
    message = drive.caught(drive.again(parameters={'model.score_threshold': 0.4}))
    assert 'missing' in message
    files = sorted(drive.folder.glob('golden.*.png'))
    assert files and all(f'see {file}' in message for file in files)
    assert {file.name.split('.')[1] for file in files} <= set(drive.found.cameras)
    picture = np.vstack([cv2.imread(str(file)) for file in files])
    assert picture.shape[1] == 1600
    green, red = (
        (picture == colour).all(axis=2).sum() for colour in [(60, 200, 60), (60, 60, 240)]
    )
    assert green > 100 and not red  # a higher threshold takes boxes away and adds none


def test_another_suppression_is_caught(tiny: Drive) -> None:
    assert 'extra' in tiny.caught(tiny.again(parameters={'model.nms_iou': 0.9}))


def test_a_wrong_border_of_the_letterbox_is_caught(drive: Drive) -> None:
    other = sidecar(drive.model, drive.folder / 'pad', {'pad': 0})
    drive.caught(drive.again(parameters={'model.path': str(other)}))


def test_a_wrong_scale_of_the_letterbox_is_caught(
    drive: Drive, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = Letterbox.fit

    def stretched(height: int, width: int, spec: InputSpec) -> Letterbox:
        return right(height, round(width * 1.1), spec)

    monkeypatch.setattr(Letterbox, 'fit', staticmethod(stretched))
    drive.caught(drive.again())


def test_a_swapped_colour_order_is_caught(drive: Drive) -> None:
    other = sidecar(drive.model, drive.folder / 'rgb', {'colour': 'rgb'})
    drive.caught(drive.again(parameters={'model.path': str(other)}))


def test_a_driver_that_swaps_colours_is_caught(drive: Drive) -> None:
    swapped = rewrite(
        drive.bag,
        drive.folder / 'swapped',
        lambda topic, number, cdr: cdr.replace(b'bgr8\0', b'rgb8\0', 1),
    )
    message = drive.caught(drive.again(bag=swapped))
    assert 'front_wide at' in message and 'rear_left at' not in message


def test_a_dropped_camera_is_caught(drive: Drive) -> None:
    car = vehicle(
        drive.folder / 'fewer.param.yaml', drive.model, ['front_wide', 'rear'], **drive.more
    )
    fewer = drive.again(vehicle=car)
    assert 'rear_left: not in this replay' in drive.caught(fewer)


def test_a_dropped_image_is_caught(tiny: Drive) -> None:
    gap = rewrite(
        tiny.bag,
        tiny.folder / 'gap',
        lambda topic, number, cdr: None if 'rear_left' in topic and number == 1 else cdr,
    )
    message = tiny.caught(tiny.again(bag=gap))
    assert 'rear_left at' in message and 'no result' in message


def test_a_damaged_image_is_caught_and_counted(tiny: Drive) -> None:
    broken = rewrite(
        tiny.bag,
        tiny.folder / 'broken',
        lambda topic, number, cdr: cdr[:-2000] if 'front' in topic and number == 1 else cdr,
    )
    replayed = tiny.again(bag=broken)
    assert replayed.dropped['front_wide'] == {'malformed': 1}
    assert 'no result' in tiny.caught(replayed)


@pytest.mark.parametrize('by_ns', [1, PERIOD_NS])
def test_a_shifted_stamp_is_caught(drive: Drive, by_ns: int) -> None:
    shifted = rewrite(
        drive.bag,
        drive.folder / f'shifted{by_ns}',
        lambda topic, number, cdr: late(cdr, by_ns) if '/rear/' in topic else cdr,
    )
    message = drive.caught(drive.again(bag=shifted))
    assert 'rear at' in message and 'no result' in message


def test_allowed_misses_allow_that_many(tiny: Drive) -> None:
    fewer = tiny.again(parameters={'model.score_threshold': 0.31})
    missing = boxes(tiny.found) - boxes(fewer)
    assert missing > 0
    check(fewer, tiny.golden, allowed_misses=missing)
    with pytest.raises(GoldenMismatchError, match=f'{missing - 1} allowed'):
        check(fewer, tiny.golden, allowed_misses=missing - 1)


def test_a_camera_without_images_is_reported(tiny: Drive, tmp_path: Path) -> None:
    with BagWriter(tmp_path / 'empty') as bag:
        bag.add_topic('/chatter', 'std_msgs/msg/String')
    for through in ('topics', 'pipeline'):
        with pytest.raises(BagError, match=r'front_wide/image_raw.*it has /chatter'):
            tiny.again(bag=tmp_path / 'empty', through=through)
