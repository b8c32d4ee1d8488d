"""The dataset tool: counting, sheets, checks, conversion and the rendered world."""

from __future__ import annotations

import json
import shutil
from itertools import islice, permutations
from pathlib import Path

import cv2
import numpy as np
import pytest
from labelled_files import LABELS, written

from yolox_trt_ros.__main__ import main
from yolox_trt_ros.datasets.faults import Fault
from yolox_trt_ros.datasets.formats import FORMATS, read_labelled
from yolox_trt_ros.image_files import read_image, write_image
from yolox_trt_ros.sim.world import dataset


def test_it_counts(tmp_path: Path, capsys) -> None:
    path, out = written('coco', tmp_path), tmp_path / 'counts.json'
    assert main(['dataset', 'count', str(path), '--json', str(out)]) == 0
    counts = json.loads(out.read_text())
    assert (counts['pictures'], counts['empty'], counts['boxes'], counts['ignored']) == (3, 1, 4, 1)
    assert counts['classes']['car'] == {
        'boxes': 2, 'ignored': 1, 'pictures': 2, 'small': 0, 'medium': 0, 'large': 2,
        'height_px': [96.0, 96.0, 96.0],
    }  # fmt: skip
    assert counts['distance_m'] == [12.5] * 3
    assert '4 boxes, 1 of them ignored' in capsys.readouterr().out


def test_it_draws_a_sheet(tmp_path: Path) -> None:
    path, sheet = written('voc', tmp_path), tmp_path / 'sheet.png'
    assert main(['dataset', 'sheet', str(path), '--output', str(sheet), '--pictures', '4']) == 0
    assert read_image(sheet).shape == (600, 800, 3)


def test_it_checks_boxes_pictures_and_splits(tmp_path: Path, capsys) -> None:
    path = written('coco', tmp_path / 'a')
    assert main(['dataset', 'check', str(path)]) == 0
    assert 'nothing is wrong' in capsys.readouterr().out
    other = written('darknet', tmp_path / 'b')
    pictures = tmp_path / 'b' / 'images'
    write_image(pictures / 'p0.png', np.full((96, 128, 3), 9, np.uint8))  # flat: like nothing
    shutil.copy(tmp_path / 'a' / 'images' / 'p2.png', pictures / 'p2.png')
    smaller = cv2.resize(read_image(tmp_path / 'a' / 'images' / 'p1.png'), (96, 72))
    (tmp_path / 'b' / 'images' / 'p1.png').unlink()
    (tmp_path / 'b' / 'labels' / 'p1.txt').rename(tmp_path / 'b' / 'labels' / 'q.txt')
    write_image(pictures / 'q.jpg', smaller)
    other.write_text('images/p0.png\nimages/q.jpg\nimages/p2.png\n')
    content = json.loads(path.read_text())
    box = content['annotations'][0]
    content['annotations'] += [box, {**box, 'bbox': [5, 5, 0, 9]}, {**box, 'bbox': [300, 5, 9, 9]}]
    content['annotations'] += [{**box, 'bbox': [100, 5, 40, 9]}]
    content['images'][2]['width'] = 90
    path.write_text(json.dumps(content))
    (tmp_path / 'a' / 'images' / 'extra.jpg').write_bytes(b'')
    out = tmp_path / 'found.json'
    command = ['dataset', 'check', str(path), '--against', str(other), '--json', str(out)]
    assert main(command) == 3
    assert json.loads(out.read_text())['counts'] == {
        kind.what: 1
        for kind in (
            Fault.TWICE, Fault.EMPTY_BOX, Fault.OUTSIDE, Fault.BEYOND, Fault.OTHER_SIZE,
            Fault.UNLABELLED, Fault.DUPLICATE, Fault.ALIKE,
        )
    }  # fmt: skip
    assert 'p1.png looks like q.jpg' in capsys.readouterr().out


@pytest.mark.parametrize(('a', 'b'), list(permutations(FORMATS, 2)))
def test_it_converts_between_all(a: str, b: str, tmp_path: Path) -> None:
    path, out = written(a, tmp_path / 'a'), tmp_path / 'b'
    assert main(['dataset', 'convert', str(path), '--to', b, '--output', str(out)]) == 0
    before, after = read_labelled(path), read_labelled(out / LABELS[b])
    assert after.format == b and not after.faults
    for one, other in zip(before.images, after.images, strict=True):
        kept = ~one.boxes.ignored if b == 'darknet' else np.ones(len(one.boxes), bool)
        np.testing.assert_allclose(other.boxes.xyxy, one.boxes.xyxy[kept], atol=1e-5)
        assert other.file.is_symlink() and other.file.resolve() == one.file.resolve()


def test_pictures_are_copied_never_through_a_link_and_never_outside(tmp_path: Path) -> None:
    path = written('coco', tmp_path / 'a')
    content = json.loads(path.read_text())
    for image, name in zip(
        content['images'], ('../images/p0.png', 'p1.png', 'p2.png'), strict=True
    ):
        image['file_name'] = name
    path.write_text(json.dumps(content))
    pictures, out = tmp_path / 'a' / 'images', tmp_path / 'out' / 'b'
    victim = tmp_path / 'victim.png'
    victim.write_bytes(b'mine')
    (out / 'images').mkdir(parents=True)
    (out / 'images' / 'p1.png').symlink_to(victim)
    command = ['dataset', 'convert', str(path), str(pictures), '--to', 'coco', '--output', str(out)]
    assert main([*command, '--pictures', 'copy']) == 0
    assert victim.read_bytes() == b'mine'
    there = {f.relative_to(tmp_path / 'out').as_posix() for f in (tmp_path / 'out').rglob('*.png')}
    assert there == {
        'b/images/images/p0.png', 'b/images/p1.png', 'b/images/p2.png',
    }  # fmt: skip
    assert not read_labelled(out / 'val.json').faults


def test_two_pictures_of_one_stem_are_refused_where_labels_would_meet(
    tmp_path: Path, capsys
) -> None:
    path = written('coco', tmp_path / 'a')
    content = json.loads(path.read_text())
    content['images'][1]['file_name'] = 'p0.jpg'
    path.write_text(json.dumps(content))
    assert (
        main(['dataset', 'convert', str(path), '--to', 'voc', '--output', str(tmp_path / 'b')]) == 1
    )
    assert 'p0.jpg and p0.png would have one name in voc' in capsys.readouterr().err


def test_the_rendered_world_is_exported_as_evaluate_measures_it(
    tmp_path: Path, monkeypatch
) -> None:
    pytest.importorskip('panda3d', reason='the rendered world needs panda3d')
    for render in ('render_world', 'render_masks'):
        whole = getattr(dataset, render)
        monkeypatch.setattr(dataset, render, lambda *of, whole=whole: islice(whole(*of), 3))
    export = ['dataset', 'convert', '--world', 'val', '--worlds', '1', '--output', str(tmp_path)]
    assert main([*export, '--to', 'coco']) == 0
    figures = []
    for what in (['--world', 'val', '--worlds', '1'], ['--data', str(tmp_path / 'val.json')]):
        assert main(['evaluate', *what, '--json', str(tmp_path / 'f.json')]) == 0
        report = json.loads((tmp_path / 'f.json').read_text())
        figures.append((report['coco'], report['confusion'], report['per_class']))
    assert figures[0] == figures[1]
    assert any(row['labels'] for row in figures[0][1]['by_distance'])


@pytest.mark.parametrize(
    ('line', 'message'),
    [
        ('convert --to voc --output o', 'expected LABELS, or --world'),
        ('convert a --world val --to voc --output o', 'expected LABELS, or --world'),
        ('count a b c', 'got 3 names'),
        ('count a b', 'expected the folder of the pictures'),
        ('count nowhere.json', 'no such file'),
    ],
)
def test_a_wrong_line_is_refused(line: str, message: str, tmp_path, capsys, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(['dataset', *line.split()]) == 1
    assert message in capsys.readouterr().err
