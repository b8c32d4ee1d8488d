"""Masks of the rendered world: what they say, and a model's masks measured against them."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from pycocotools import mask as coco
from tiny_models import MASK_CLASSES as TINY_CLASSES
from tiny_models import write_yolox

from yolox_trt_ros.__main__ import main
from yolox_trt_ros.core.run_length import coco_counts, runs_of, values_of

pytest.importorskip('panda3d', reason='the rendered world needs panda3d')
from yolox_trt_ros.sim.world.bodies import CLASSES
from yolox_trt_ros.sim.world.rig import default_rig
from yolox_trt_ros.sim.world.truth import MASK_CLASSES
from yolox_trt_ros.sim.world.world import World


def test_pixels_of_the_world_have_the_classes_of_what_is_there() -> None:
    with World(200_500, 'day', 'clear') as world:
        _, truth = world.render(3.0, default_rig()['front_wide'])
        mask = world.class_mask()
    assert mask.shape == (640, 960) and {'sky', 'ground', 'scenery'} <= set(names(mask))
    # Sky is above the ground, and every labelled road user has pixels of its class in its box.
    rows = [np.nonzero(mask == MASK_CLASSES.index(name))[0].mean() for name in ('sky', 'ground')]
    assert rows[0] < rows[1]
    for box, class_id in zip(truth.labelled().xyxy, truth.labelled().class_id, strict=True):
        x0, y0, x1, y1 = box.astype(int)
        assert (mask[y0:y1, x0:x1] == MASK_CLASSES.index(CLASSES[class_id])).any()
    # Real masks keep their runs, and those of a class are pycocotools'.
    assert (values_of(runs_of(mask).tobytes(), *mask.shape) == mask).all()
    for number in np.unique(mask).tolist():
        one = np.asfortranarray(mask == number)
        ours = coco.frPyObjects({'size': [640, 960], 'counts': coco_counts(one)}, 640, 960)
        assert ours == coco.encode(one.astype(np.uint8, order='F'))


def names(mask: np.ndarray) -> list[str]:
    return [MASK_CLASSES[number] for number in np.unique(mask)]


def test_evaluate_counts_the_pixels_of_a_models_masks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_yolox(tmp_path / 'm.onnx', labels=CLASSES, segmentation='scores')
    named = ['sky', 'ground', 'car', 'scenery', 'thing'][:TINY_CLASSES]
    path.with_suffix('.yaml').write_text(f'segmentation_labels: [{", ".join(named)}]\n')
    words = ['evaluate', '--model', str(path), '--world', 'test', '--worlds', '1']
    assert main([*words, '--json', str(tmp_path / 'f.json')]) == 0
    figures = json.loads((tmp_path / 'f.json').read_text())['masks']
    counts = np.array(figures['counts'])
    assert counts.shape == (len(MASK_CLASSES), len(MASK_CLASSES) + 1)
    assert counts.sum() == 16 * 640 * 960
    assert counts[:, MASK_CLASSES.index('bus')].sum() == 0 < counts[:, -1].sum()
    assert 0 < figures['miou'] < 1 and 'pixels that are right' in capsys.readouterr().out


def test_detect_writes_and_draws_masks(tmp_path: Path) -> None:
    path = write_yolox(tmp_path / 'm.onnx', segmentation='scores')
    (tmp_path / 'in').mkdir()
    picture = np.random.default_rng(1).integers(0, 256, (64, 96, 3), np.uint8)
    cv2.imwrite(str(tmp_path / 'in' / 'a.png'), picture)
    words = ['detect', '--model', str(path), '--images', str(tmp_path / 'in'), '--score', '0.99']
    out = tmp_path / 'out'
    assert main([*words, '--json', str(tmp_path / 'f.json'), '--draw', str(out)]) == 0
    said = json.loads((tmp_path / 'f.json').read_text())['images']['a.png']['segmentation']
    assert said['region'] == [0, 0, 96, 64]
    decoded = [coco.decode(coco.frPyObjects(m, *m['size'])) for m in said['masks'].values()]
    assert (np.sum(decoded, axis=0) == 1).all()  # every cell has one class
    assert (cv2.imread(str(out / 'a.png')) != picture).any()
