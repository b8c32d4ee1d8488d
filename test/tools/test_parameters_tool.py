"""A first vehicle file from a recording."""

from __future__ import annotations

from pathlib import Path

import pytest
from drive import drive, write_bag

from yolox_trt_ros.__main__ import main
from yolox_trt_ros.cli.camera_names import camera_names
from yolox_trt_ros.vehicle_files import load_vehicle


@pytest.mark.parametrize(
    ('topics', 'names'),
    [
        (['/left/image_raw/foxglove', '/right/image_raw/ffmpeg'], ['left', 'right']),
        (['/front/image_raw', '/rear/image_raw'], ['front', 'rear']),
        (['/cameras/front/image', '/cameras/rear/image/compressed'], ['front', 'rear']),
        (['/camera/image_raw'], ['camera']),
        (['/CAM_FRONT/image', '/CAM_BACK/image'], ['CAM_FRONT', 'CAM_BACK']),
        (['/cam0/image_raw', '/1/image_raw'], ['cam0', 'camera_1']),
        (['/a/left/image', '/b/left/image'], ['a', 'b']),
        (['/x/image', '/x/image_raw'], ['camera', 'camera_2']),
    ],
)
def test_cameras_are_called_by_what_distinguishes_them(topics, names):
    assert list(camera_names(topics)) == names


def test_a_vehicle_file_from_a_bag(tmp_path: Path, capsys) -> None:
    bag = write_bag(tmp_path / 'bag', drive())
    assert main(['parameters', '--from-bag', str(bag), '--model', 'edge_n']) == 0
    file = tmp_path / 'car.param.yaml'
    file.write_text(capsys.readouterr().out)
    config = load_vehicle(str(file))
    assert [(c.name, c.image_topic, c.transport) for c in config.cameras] == [
        ('front', '/front/image_raw', 'raw'),
        ('rear', '/rear/image_raw', 'raw'),
    ]
    look = {(c.encoding, c.width, c.height) for c in config.cameras}
    assert look == {('bgr8', 80, 60)}
    assert config.model.path == 'edge_n' and config.cameras[0].rate_hz == pytest.approx(10.0)
    assert all(lane.device == 'cpu' for lane in config.lanes) and config.lanes


def test_a_bag_without_images_is_refused(tmp_path: Path, capsys) -> None:
    bag = write_bag(tmp_path / 'bag', [m for m in drive() if 'detector' in m[1]])
    assert main(['parameters', '--from-bag', str(bag)]) == 1
    assert 'expected 1 to 8 topics with images, got 0; it has /detector/' in capsys.readouterr().err
