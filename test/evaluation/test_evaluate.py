"""The evaluate tool: known figures for known detections, and a run of the real model."""

import json
from pathlib import Path

import numpy as np
import pytest
from labelled_world import write_labelled

from yolox_trt_ros.__main__ import main
from yolox_trt_ros.datasets.labelled import LabelledBoxes
from yolox_trt_ros.evaluation.coco_metrics import Found, average_precision

CLASSES = ('car', 'bus')
BOXES = np.array([[10, 10, 60, 50], [100, 20, 180, 90]], np.float32)


def labels(ignored: tuple[bool, bool] = (False, False)) -> LabelledBoxes:
    return LabelledBoxes(BOXES, np.array([0, 1]), np.array(ignored))


def found(boxes: np.ndarray, scores: list[float], class_ids: list[int]) -> Found:
    return boxes, np.array(scores, np.float32), np.array(class_ids, np.int32)


def test_perfect_detections_score_one():
    result = average_precision([labels()], [found(BOXES, [0.9, 0.8], [0, 1])], CLASSES)
    assert (result['map50'], result['map50_95']) == (1.0, 1.0)
    assert result['per_class']['bus'] == {'ap50': 1.0, 'ap50_95': 1.0, 'labels': 1}


def test_nothing_found_scores_zero():
    result = average_precision([labels()], [found(BOXES[:0], [], [])], CLASSES)
    assert result['map50'] == 0.0 and result['per_class']['car']['ap50'] == 0.0


def test_the_wrong_class_scores_zero():
    result = average_precision([labels()], [found(BOXES, [0.9, 0.8], [1, 0])], CLASSES)
    assert result['map50'] == 0.0


def test_a_shifted_box_counts_at_low_overlap_only():
    shifted = BOXES + np.array([0, 8, 0, 8], np.float32)
    result = average_precision([labels()], [found(shifted, [0.9, 0.8], [0, 1])], CLASSES)
    assert result['map50'] == 1.0 and 0.2 < result['map50_95'] < 0.7


def test_ignored_boxes_count_on_neither_side():
    ignoring = [labels((False, True))]
    for detections in (found(BOXES, [0.9, 0.99], [0, 1]), found(BOXES[:1], [0.9], [0])):
        result = average_precision(ignoring, [detections], CLASSES)
        assert result['per_class']['car']['ap50'] == 1.0
        assert result['per_class']['bus'] == {'ap50': None, 'ap50_95': None, 'labels': 0}


def test_low_labels_can_be_left_out():
    low = labels().ignoring_below(50)
    assert low.ignored.tolist() == [True, False]
    result = average_precision([low], [found(BOXES[1:], [0.9], [1])], CLASSES)
    assert (result['map50'], result['per_class']['car']['labels']) == (1.0, 0)


def test_lengths_must_agree():
    with pytest.raises(ValueError, match='1 labelled pictures but detections of 0'):
        average_precision([labels()], [], CLASSES)


@pytest.fixture(scope='module')
def folder(tmp_path_factory) -> Path:
    """Return a folder with pictures of a test world and their COCO labels."""
    path = tmp_path_factory.mktemp('coco')
    return write_labelled(path)


def test_a_labelled_folder_is_measured(folder, tmp_path, capsys):
    out = tmp_path / 'new' / 'figures.json'
    data = ['--coco', str(folder), str(folder / 'labels.json')]
    code = main(['evaluate', '--model', 'edge_n', *data, '--json', str(out)])
    report = json.loads(out.read_text())
    message = capsys.readouterr()
    assert code == 0 and report['images'] == 8
    assert report['map50'] > 0.6 and report['per_class']['car']['labels'] > 5
    assert 'pedestrian' in message.out and '"tram" are left out' in message.err


def test_a_missing_image_is_named(folder, tmp_path, capsys):
    content = json.loads((folder / 'labels.json').read_text())
    content['images'][0]['file_name'] = 'front_wid.png'
    (tmp_path / 'broken.json').write_text(json.dumps(content))
    code = main(['evaluate', '--coco', str(folder), str(tmp_path / 'broken.json')])
    assert code == 0
    message = capsys.readouterr().err
    assert '1 × picture that is not there' in message and 'did you mean "front_wide.png"' in message


def test_labels_that_are_not_coco_are_refused(tmp_path, capsys):
    (tmp_path / 'bad.json').write_text('{"images": []}')
    assert main(['evaluate', '--coco', str(tmp_path), str(tmp_path / 'bad.json')]) == 1
    assert 'expected COCO labels' in capsys.readouterr().err


def test_the_world_needs_at_least_one_world(capsys):
    with pytest.raises(SystemExit):
        main(['evaluate', '--world', 'test', '--worlds', '0'])
    assert '--worlds: expected a number from 1' in capsys.readouterr().err


def test_the_packaged_model_knows_the_rendered_world(tmp_path, capsys):
    pytest.importorskip('panda3d', reason='the rendered world needs panda3d')
    out = tmp_path / 'world.json'
    assert main(['evaluate', '--world', 'test', '--worlds', '2', '--json', str(out)]) == 0
    report = json.loads(out.read_text())
    # Two worlds are easier or harder than the mean of all 24, which the model card has.
    assert report['map50'] > 0.7 and report['map50_95'] > 0.45
    assert report['images'] == 32
    text = capsys.readouterr().out
    assert 'edge_n.onnx on 32 images of world test\n' in text
    far = next(row for row in report['confusion']['by_distance'] if row['from_m'] == 20)
    line = next(line for line in text.splitlines() if line.startswith('20 to 25 m'))
    assert line.split()[4:] == [f'{100 * far["recall"]:.1f}', str(far['labels'])]
