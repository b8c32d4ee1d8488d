"""A vehicle file from parameter files of Autoware's YOLOX node."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from tiny_models import write_yolox

from yolox_trt_ros.__main__ import main
from yolox_trt_ros.vehicle_files import load_vehicle

TINY = """
/**:
  ros__parameters:
    is_roi_overlap_segmentation: true
    is_publish_color_mask: false
    roi_overlay_segmentation_label:
      UNKNOWN : true
      CAR : false
    dla_core_id: -1 # no DLA
    gpu_id: 1
    calibration_image_list_path: ""
"""
PACKAGE = """
score_threshold: 0.4
nms_threshold: 0.65
precision: "int8"
calibration_algorithm: "Entropy"
quantize_first_layer: true
quantize_last_layer: false
profile_per_layer: false
clip_value: 6.0
"""
REMAP = 'from, to\nUNKNOWN, 0\nCAR, 1\nTRUCK, 2\nMOTORBIKE, 5\nDEBRIS, 0\n'


@pytest.fixture
def theirs(tmp_path: Path) -> Path:
    """Return a folder with two parameter files, a model, its labels and their remap file."""
    (tmp_path / 'yolox_tiny.param.yaml').write_text(TINY)
    (tmp_path / 'ml_package.param.yaml').write_text(PACKAGE)
    (tmp_path / 'remap.csv').write_text(REMAP)
    write_yolox(tmp_path / 'yolox.onnx', labels=('CAR', 'TRUCK', 'MOTORBIKE'))
    (tmp_path / 'labels.txt').rename(tmp_path / 'label.txt')
    return tmp_path


def made(
    capsys: pytest.CaptureFixture[str], *words: str | Path, code: int = 0
) -> tuple[str, dict[str, str], str]:
    """Return a vehicle file, what it says of each key, and what was said beside it."""
    assert main(['parameters', '--from-autoware', *map(str, words)]) == code
    text, errors = capsys.readouterr()
    lines = [line[4:].partition(': ') for line in text.splitlines() if line.startswith('#   ')]
    return text, {key: rest.partition(' -> ')[2] for key, _, rest in lines}, errors


def test_two_files_become_a_vehicle(theirs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = [theirs / 'yolox_tiny.param.yaml', theirs / 'ml_package.param.yaml']
    text, became, errors = made(
        capsys, *files, '--model', theirs / 'yolox.onnx', '--labels', theirs / 'label.txt',
        '--class-map', theirs / 'remap.csv', '--cameras', '3', '--compressed',
    )  # fmt: skip
    assert not errors
    keys = [line.split(':')[0].strip() for line in (TINY + PACKAGE).splitlines()]
    wanted = {k for k in keys if k and k not in ('/**', 'ros__parameters', 'UNKNOWN', 'CAR')}
    assert wanted - {'roi_overlay_segmentation_label'} <= became.keys()
    assert became['roi_overlay_segmentation_label.UNKNOWN'] == 'model.mask_box_classes'
    assert became['is_publish_color_mask'] == 'nothing: it is off'
    assert 'for a model with a segmentation head: add mask to outputs' in text
    assert became['gpu_id'] == 'lanes.gpu.device'
    assert 'quantize' in text and '--method fixed:6 --keep first --no-gate; then' in text
    assert 'engines.ranges: int8/yolox.fixed-6.ranges.json' in text
    file = theirs / 'car.param.yaml'
    file.write_text(text)
    config = load_vehicle(str(file))
    assert (config.model.score_threshold, config.model.nms_iou) == (0.4, 0.65)
    assert config.model.class_agnostic and config.outputs == (
        'objects',
        'debug_times',
        'detections',
    )
    (lane,) = config.lanes
    assert (lane.device, lane.precision, lane.max_batch) == ('cuda:1', 'fp16', 3)
    last = config.cameras[2]
    assert last.image_topic == '/sensing/camera/camera2/image_rect_color/compressed'
    assert last.objects_topic == '/perception/object_recognition/detection/rois2'


CROP = (
    'enable_center_crop_inference: true\ncenter_crop_edge_margin: 8\n'
    'center_crop_overlap_iou_threshold: 0.5\ncenter_crop_x_ratio: 0.5\ncenter_crop_y_ratio: 0.4\n'
)


def test_their_centre_crop_is_a_crop_of_each_camera(
    theirs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = theirs / 'crop.param.yaml'
    file.write_text(f'{CROP}model_path: {theirs / "yolox.onnx"}\n')
    text, became, _ = made(capsys, file, '--labels', theirs / 'label.txt', '--cameras', '3')
    assert became['enable_center_crop_inference'] == 'cameras.<name>.crops: 96x64@50%,40%'
    assert became['center_crop_y_ratio'] == 'the centre in cameras.<name>.crops'
    assert '2 px' in became['center_crop_edge_margin']
    (theirs / 'car.param.yaml').write_text(text)
    config = load_vehicle(str(theirs / 'car.param.yaml'))
    assert [camera.crops for camera in config.cameras] == [('96x64@50%,40%',)] * 3
    assert config.lanes[0].max_batch == 6

    file.write_text(CROP)
    text, became, _ = made(capsys, file)
    assert became['enable_center_crop_inference'] == 'cameras.<name>.crops, see below'
    assert 'cameras.camera0.crops: ["960x960@50%,40%"]' in text
    file.write_text(f'{CROP}dla_core_id: 0\n')
    text, became, _ = made(capsys, file)
    assert became['enable_center_crop_inference'].startswith('not taken: a DLA runs one image')
    file.write_text(CROP.replace('true', 'false'))
    text, became, _ = made(capsys, file)
    assert all(what.startswith('nothing') for key, what in became.items() if 'center_crop' in key)


def test_files_of_masks_are_taken(theirs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = theirs / 'seg.param.yaml'
    file.write_text(
        f'{PACKAGE}is_roi_overlap_segmentation: true\nis_publish_color_mask: true\n'
        'overlap_roi_score_threshold: 0.25\nsemantic_segmentation_color_map_path: colors.csv\n'
        'roi_to_semantic_segmentation_remap_path: boxes.csv\n'
        'roi_overlay_segmentation_label: {CAR: true, BUS: false, HAZARD: true}\n'
    )
    text, became, _ = made(capsys, file, '--cameras', '2')
    vehicle = yaml.safe_load(text)['/**']['ros__parameters']
    assert vehicle['outputs'] == ['objects', 'debug_times', 'detections', 'mask', 'color_mask']
    masks = {k: v for k, v in vehicle['model'].items() if k.startswith('mask')}
    assert masks == {
        'mask_colors': 'colors.csv',
        'mask_boxes': 'boxes.csv',
        'mask_box_classes': ['CAR', 'HAZARD'],
        'mask_box_score': 0.25,
    }
    assert vehicle['mask_format'] == 'rle'
    topic = vehicle['cameras']['camera1']['mask_topic']
    assert topic == '/perception/object_recognition/detection/mask1'
    assert became['roi_overlay_segmentation_label.BUS'].endswith('does not have it')


def test_a_manifest_stands_for_its_files(theirs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifest = theirs / 'parameters.manifest.yaml'
    manifest.write_text('config_files: [yolox_tiny.param.yaml, ml_package.param.yaml]\n')
    (theirs / 'ml_package.param.yaml').write_text(f'{PACKAGE}gpu_id: 0\ndla_core_id: 1\n')
    text, became, _ = made(capsys, manifest)
    assert 'ml_package.param.yaml says it again' in text
    assert became['dla_core_id'] == 'lanes.dla.device'
    assert 'give --class-map, roi_label_remap.csv: no file says roi_remap_path' in text
    vehicle = yaml.safe_load(text)['/**']['ros__parameters']
    assert vehicle['lanes'] == {
        'dla': {'backend': 'tensorrt', 'device': 'dla:1', 'precision': 'fp16'}
    }


def test_a_calibration_table_beside_the_model_is_used(
    theirs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = theirs / 'yolox.EntropyV2-calibration.table'
    table.write_text('TRT-8601-EntropyCalibration2\nimages: 3f800000\n')
    file = theirs / 'all.param.yaml'
    file.write_text(f'{PACKAGE.replace("6.0", "0.0")}model_path: {theirs / "yolox.onnx"}\n')
    text, became, _ = made(capsys, file, '--labels', theirs / 'label.txt')
    assert 'calibration table beside the model' in became['precision']
    vehicle = yaml.safe_load(text)['/**']['ros__parameters']
    assert vehicle['engines'] == {'ranges': str(table)}
    assert vehicle['lanes']['gpu']['precision'] == 'int8'


def test_unknown_keys_and_what_only_the_launch_file_knows_are_named(
    theirs: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv('HERE', '/somewhere')
    file = theirs / 'odd.param.yaml'
    file.write_text(
        'score_treshold: 0.3\nimage_path: a\nlabel_path: $(env HERE)/label.txt\n'
        'model_path: $(var data_path)/m.onnx\ngpu_id:\n"a\\rb": 1\n'
    )
    text, became, errors = made(capsys, file)
    assert became['score_treshold'] == 'UNKNOWN — did you mean "score_threshold"?'
    assert became['image_path'].startswith('UNKNOWN')
    assert became['gpu_id'] == 'nothing: it has no value'
    assert 'score_treshold: no key of Autoware’s YOLOX node' in errors and 'image_path' in errors
    assert 'only the launch file knows' in became['model_path'] and '\r' not in text + errors
    assert (
        yaml.safe_load(text)['/**']['ros__parameters']['model']['labels'] == '/somewhere/label.txt'
    )


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        ('precision: fp8\n', 'precision: expected fp32, fp16 or int8, got "fp8"'),
        ('gpu_id: first\n', 'gpu_id: expected a number, got "first"'),
        ('precision: int8\ncalibration_algorithm: x\n', 'calibration_algorithm: expected Entropy'),
        ('nms_threshold: 1.5\n', 'model.nms_iou: expected 0 to 1, got 1.5'),
        ('', 'expected parameters, got none'),
        ('config_files: [absent.yaml]\n', 'absent.yaml'),
        ('model_path: [a]\n', 'expected a path'),
    ],
)
def test_wrong_values_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str, message: str
) -> None:
    file = tmp_path / 'a.param.yaml'
    file.write_text(content)
    assert message in made(capsys, file, code=1)[2]


def test_classes_that_autoware_has_not_are_refused(
    theirs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (theirs / 'label.txt').write_text('CAR\nTRUCK\nkite\n')
    words = (theirs / 'yolox_tiny.param.yaml', '--model', theirs / 'yolox.onnx')
    errors = made(capsys, *words, '--labels', theirs / 'label.txt', code=1)[2]
    assert 'not ["kite"]: give model.class_map' in errors
