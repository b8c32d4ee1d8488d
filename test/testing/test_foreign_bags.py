"""Bags of other people's drivers: from bag to report by the commands of the README."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import foreign
import numpy as np
import pytest
from foreign import COMPRESSED, IMAGE, SECOND, T0, compressed, image, jpeg, picture, png, write
from tiny_models import write_yolox

from yolox_trt_ros.__main__ import main
from yolox_trt_ros.core.config import Config
from yolox_trt_ros.core.errors import YoloxTrtRosError
from yolox_trt_ros.testing import replay
from yolox_trt_ros.vehicle_files import load_vehicle

Written = Callable[..., str]


@pytest.fixture(scope='module')
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_yolox(tmp_path_factory.mktemp('model') / 'mine.onnx')


@pytest.fixture
def written(capsys: pytest.CaptureFixture[str], model: Path) -> Written:
    """Return what ``parameters --from-bag`` prints, or the error that it ends with."""

    def run(bag: Path, *more: str) -> str:
        code = main(['parameters', '--from-bag', str(bag), '--model', str(model), *more])
        printed = capsys.readouterr()
        return printed.err if code else printed.out

    return run


def vehicle(text: str, folder: Path) -> Config:
    file = folder / 'car.param.yaml'
    file.write_text(text)
    return load_vehicle(str(file))


def topics(config: Config) -> dict[str, tuple[str, float]]:
    return {c.name: (c.image_topic, c.rate_hz) for c in config.cameras}


def test_of_a_realsense_colour_and_infrared_are_cameras(tmp_path: Path, written: Written) -> None:
    text = written(foreign.realsense(tmp_path / 'bag'))
    assert topics(vehicle(text, tmp_path)) == {
        'color': ('/camera/camera/color/image_raw', 10.0),
        'infra1': ('/camera/camera/infra1/image_rect_raw', 15.0),  # not 15 images in 2 s
        'infra2': ('/camera/camera/infra2/image_rect_raw', 15.0),
    }
    base = '#   /camera/camera'
    for line in (
        f'{base}/depth/image_rect_raw: depth by its name (16UC1)',
        f'{base}/depth/image_rect_raw/compressedDepth: depth (16UC1; compressedDepth png)',
        f'{base}/depth/image_rect_raw/compressed: depth by its name (16UC1; png compressed)',
        f'{base}/aligned_depth_to_color/image_raw: depth by its name (16UC1)',
        f'{base}/color/image_raw/compressed: the same pictures as /camera/camera/color/image_raw, '
        'which is used',
    ):
        assert line in text.splitlines()
    assert 'imu' not in text and 'metadata' not in text


def test_of_a_zed_floats_and_clouds_are_none(tmp_path: Path, written: Written) -> None:
    rule = '/zed/zed_node/rgb/image_rect_color:=/zed/zed_node/x/image'
    text = written(foreign.zed(tmp_path / 'bag'), '--remap', rule)
    config = vehicle(text, tmp_path)
    assert sorted(topics(config)) == ['left', 'left_raw', 'right', 'x']
    assert all(rate == 10.0 for _, rate in topics(config).values())
    assert text.count('(32FC1), no picture') == 2


def test_eight_compressed_cameras_have_their_topics_as_they_stand(
    tmp_path: Path, written: Written
) -> None:
    bag = foreign.eight(tmp_path / 'bag')
    config = vehicle(written(bag), tmp_path)
    assert topics(config) == {
        f'CAM_{name}': (f'/CAM_{name}/image_rect_compressed', 5.0) for name in sorted(foreign.EIGHT)
    }
    some = vehicle(written(bag, '--topics', '/CAM_FRONT*', '/CAM_BACK/*'), tmp_path)
    assert list(topics(some)) == ['CAM_FRONT', 'CAM_FRONT_LEFT', 'CAM_FRONT_RIGHT', 'CAM_BACK']
    assert 'no topic /CAM_FRON — did you mean "/CAM_FRONT/' in written(bag, '--topics', '/CAM_FRON')


def test_more_than_eight_are_chosen_from(tmp_path: Path, written: Written) -> None:
    rows = [(T0 + n, f'/c{n}/image', IMAGE, image(picture(n), 'bgr8', T0)) for n in range(9)]
    bag = write(tmp_path / 'bag', rows)
    assert "got 9: choose with --topics, by names or patterns such as '/c0/*': /c0/" in written(bag)
    assert len(vehicle(written(bag, '--topics', '/c[0-4]/image'), tmp_path).cameras) == 5


def test_what_cannot_be_read_is_named(tmp_path: Path, written: Written) -> None:
    video = {
        'theora_image_transport/msg/Packet': 'uint8[] data\n',
        'foxglove_msgs/msg/CompressedVideo': 'string frame_id\nuint8[] data\nstring format\n',
        'acme_msgs/msg/HyperImage': 'uint8[] data\n',
    }
    rows = [(T0 + k, f'/v{k}', name, b'\0\1\0\0' + bytes(16)) for k, name in enumerate(video)]
    rows += [
        (T0 + n * SECOND // 4, '/good/image', IMAGE, image(picture(n), 'bgr8', T0))
        for n in range(4)
    ]
    rows += [
        (T0, '/odd/image', IMAGE, image(picture(1), 'bgr99', T0)),
        (T0, '/h264/image', COMPRESSED, compressed(b'\0\0\0\1' + bytes(50), 'h264', T0)),
        (T0, '/evil/image', COMPRESSED, compressed(b'?', 'a\n/**: {}', T0)),
    ]
    text = written(write(tmp_path / 'bag', rows, video))
    assert topics(vehicle(text, tmp_path)) == {'good': ('/good/image', 4.0)}  # stamps stand still
    for start in (
        '#   /v0: video (theora_image_transport/msg/Packet)',
        '#   /v1: cannot be read: string of 0 bytes',
        '#   /v2: not read (acme_msgs/msg/HyperImage)',
        '#   /odd/image: cannot be read: encoding "bgr99"',
        '#   /h264/image: video (h264)',
        '#   /evil/image: cannot be read: format "a?',
    ):
        assert any(line.startswith(start) for line in text.splitlines()), (start, text)
    assert '/v0: video (theora' in written(tmp_path / 'bag', '--topics', '/v0')


def test_sixteen_bits_are_a_camera_unless_the_name_says_depth(
    tmp_path: Path, written: Written
) -> None:
    warm = np.random.default_rng(1).integers(7000, 9000, foreign.SIZE).astype(np.uint16)
    names = {'/flir/image_raw': 'mono16', '/cam/depth/image': '16UC1', '/lidar/range': '32FC1'}
    rows = [
        (T0 + n, topic, IMAGE, image(warm, encoding, T0 + n))
        for topic, encoding in names.items()
        for n in range(3)
    ]
    bag = write(tmp_path / 'bag', rows)
    assert [c.image_topic for c in vehicle(written(bag), tmp_path).cameras] == ['/flir/image_raw']
    forced = vehicle(written(bag, '--topics', '/cam/depth/image'), tmp_path)
    assert [c.image_topic for c in forced.cameras] == ['/cam/depth/image']
    assert 'depth or disparity (32FC1)' in written(bag, '--topics', '/lidar/range')


def test_the_twin_with_clearly_more_images_is_taken(tmp_path: Path, written: Written) -> None:
    packed = jpeg(picture(1))
    rows = [
        (T0 + n, '/cam/image_rect_compressed', COMPRESSED, compressed(packed, 'jpeg', T0 + n))
        for n in range(10)
    ]
    rows += [(T0 + n, '/cam/image_rect', IMAGE, image(picture(n), 'bgr8', T0)) for n in range(5)]
    bag = write(tmp_path / 'bag', rows)
    config = vehicle(written(bag), tmp_path)
    assert [c.image_topic for c in config.cameras] == ['/cam/image_rect_compressed']
    named = vehicle(written(bag, '--topics', '/cam/image_rect'), tmp_path)
    assert [c.image_topic for c in named.cameras] == ['/cam/image_rect']


def test_a_model_that_is_none_is_reported_at_once(tmp_path: Path, written: Written) -> None:
    bag = foreign.eight(tmp_path / 'bag', 1.0)
    assert 'nope.onnx' in written(bag, '--model', 'nope.onnx')
    wrong = tmp_path / 'wrong.onnx'
    wrong.write_bytes(png(picture(1)))
    assert 'wrong.onnx' in written(bag, '--model', str(wrong))


def test_ten_kinds_of_damage_cost_these_images_and_no_other(
    tmp_path: Path, written: Written, model: Path
) -> None:
    bag, car = foreign.damaged(tmp_path / 'bag'), tmp_path / 'car.param.yaml'
    car.write_text(written(bag))
    found = replay(bag, car, through='pipeline')
    assert {name: len(results) for name, results in found.cameras.items()} == {
        'good': 30,
        'worn': 20,
    }
    assert found.dropped['worn'].total() == 10 and not found.dropped['good']
    same = {r.detections.xyxy.tobytes() for r in found.cameras['worn']}
    assert len(same) == 1, 'all whole images show the same'


@pytest.mark.ros
@pytest.mark.parametrize(
    ('record', 'cameras', 'images', 'samples', 'said'),
    [
        (foreign.damaged, 2, 60, 2, (
            '3 images do not parse', '2 images have an encoding this package does not read',
            '5 images are damaged JPEG, PNG or video data',
        )),
        (foreign.shared_stamps, 2, 40, 0, (
            'Header stamps of three repeat', 'Header stamps of zero repeat',
        )),
    ],
)  # fmt: skip
def test_from_bag_to_report(
    record: Callable[[Path], Path], cameras: int, images: int, samples: int,
    said: tuple[str, ...], tmp_path: Path, written: Written,
) -> None:  # fmt: skip
    bag, car, page = record(tmp_path / 'bag'), tmp_path / 'car.param.yaml', tmp_path / 'r.html'
    car.write_text(written(bag))
    command = [sys.executable, '-m', 'yolox_trt_ros', 'report', '--replay', str(bag)]
    command += ['--vehicle', str(car), '--out', str(page)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    summary = ' '.join(done.stdout.split())
    assert f'Every camera gave results: {cameras} of them.' in summary
    for sentence in said:
        assert sentence in summary
    assert page.read_text().count('data:image/jpeg;base64,') == samples
    received = re.search(r'of ([\d,]+) images (was dropped|were passed)', summary)
    if received:  # not where damage is the only loss
        assert int(received[1]) == images
    assert 'were lost between' not in summary


@pytest.mark.ros
def test_a_report_of_some_cameras_under_other_names(tmp_path: Path, written: Written) -> None:
    bag, car, page = foreign.eight(tmp_path / 'bag', 1.0), tmp_path / 'c.yaml', tmp_path / 'r.html'
    rules = ['--remap', '/CAM_LEFT/image_rect_compressed:=/left/image/compressed']
    car.write_text(written(bag, *rules))
    command = [sys.executable, '-m', 'yolox_trt_ros', 'report', '--replay', str(bag), *rules]
    command += ['--topics', '/CAM_LEFT*', '--vehicle', str(car), '--out', str(page)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert 'Every camera gave results: 1 of them.' in ' '.join(done.stdout.split())
    assert page.read_text().count('data:image/jpeg;base64,') == 1


@pytest.mark.ros
def test_what_the_node_refuses_is_reported_at_once(tmp_path: Path, written: Written) -> None:
    """It stays, so that it can be configured again: nobody waits two minutes for its results."""
    bag, car = foreign.eight(tmp_path / 'bag', 1.0), tmp_path / 'car.param.yaml'
    car.write_text(written(bag).replace('device: cpu', 'device: cuda:77'))
    command = [sys.executable, '-m', 'yolox_trt_ros', 'report', '--replay', str(bag)]
    command += ['--vehicle', str(car), '--out', str(tmp_path / 'r.html')]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 1
    assert 'detector_node: not configured: ' in done.stderr and 'cuda' in done.stderr
    with pytest.raises(YoloxTrtRosError, match=r'detector_node: not configured: .*cuda'):
        replay(bag, car, timeout_s=90.0)
