"""Drivers that give several images one header stamp, or all of them zero: nothing is lost."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from drives import record, rewrite, vehicle
from tiny_models import write_yolox

from yolox_trt_ros.core.messages import header_stamp_ns
from yolox_trt_ros.ros.output.serialize_images import STAMP_AT
from yolox_trt_ros.testing import GoldenMismatchError, Replayed, check, replay

FRAMES = 7
CAMERAS = ('front_wide', 'rear_left', 'rear')
Stamps = Callable[[int], int]


def noise(name: str, index: int) -> np.ndarray:
    rng = np.random.default_rng([CAMERAS.index(name), index])
    small = rng.integers(0, 256, (9, 16, 3), np.uint8)
    return small.repeat(20, axis=0).repeat(20, axis=1)


@pytest.fixture(scope='module')
def drive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a drive and its vehicle; every image looks otherwise."""
    folder = tmp_path_factory.mktemp('stamps')
    record(folder / 'bag', noise, FRAMES)
    vehicle(folder / 'car.param.yaml', write_yolox(folder / 'tiny.onnx'))
    return folder


def stamped(drive: Path, name: str, stamp_of: Stamps, damaged: int = -1) -> Path:
    """Return a copy with other header stamps; one image of the front camera cannot be read."""

    def change(topic: str, number: int, cdr: bytes) -> bytes:
        stamp = np.array(divmod(stamp_of(number), 10**9), '<i4').tobytes()
        cdr = cdr[:STAMP_AT] + stamp + cdr[STAMP_AT + 8 :]
        return cdr[:-2000] if number == damaged and 'front' in topic else cdr

    return rewrite(drive / 'bag', drive / name, change)


def found(replayed: Replayed) -> dict[str, list[list[float]]]:
    """Return all scores in the order of the images."""
    return {
        name: [r.detections.score.tolist() for r in results]
        for name, results in replayed.cameras.items()
    }


@pytest.mark.parametrize('through', ['pipeline', pytest.param('topics', marks=pytest.mark.ros)])
@pytest.mark.parametrize('stamp_of', [lambda n: 0, lambda n: 10**18 + n // 3], ids=['0', 'three'])
def test_every_image_has_its_own_result(
    drive: Path, tmp_path: Path, stamp_of: Stamps, through: str
) -> None:
    car = drive / 'car.param.yaml'
    right = found(replay(drive / 'bag', car, through='pipeline'))
    assert len({tuple(scores) for scores in right['front_wide']}) == FRAMES  # all differ
    bag = stamped(drive, tmp_path.name, stamp_of)
    assert found(replay(bag, car, through=through)) == right


def test_a_golden_knows_each_of_them(drive: Path, tmp_path: Path) -> None:
    car, golden = drive / 'car.param.yaml', tmp_path / 'golden.json'
    bag = stamped(drive, 'zero', lambda n: 0)
    check(replay(bag, car, through='pipeline'), golden, update=True)
    assert golden.read_text().count('"stamp_ns": 0') == FRAMES * len(CAMERAS)
    check(replay(bag, car, through='pipeline'), golden)
    # Goldens of before have the images in order and no numbers.
    golden.write_text(golden.read_text().replace('"repeat"', '"comment"'))
    check(replay(bag, car, through='pipeline'), golden)
    broken = replay(stamped(drive, 'broken', lambda n: 0, damaged=2), car, through='pipeline')
    assert broken.dropped['front_wide'] == {'malformed': 1}
    with pytest.raises(GoldenMismatchError) as message:
        check(broken, golden, pictures=tmp_path)
    assert 'front_wide at 0.000, image 3 of this stamp: no result' in str(message.value)
    assert str(message.value).count('no result') == 1, 'the images behind it are distinguished'


def test_a_message_without_a_header_has_no_stamp() -> None:
    assert header_stamp_ns(b'\0\1\0\0\1\0\0\0') == -1
    assert header_stamp_ns(b'\0\1\0\0\1\0\0\0\2\0\0\0') == 10**9 + 2
    assert header_stamp_ns(b'\0\0\0\0\0\0\0\1\0\0\0\2') == 10**9 + 2
