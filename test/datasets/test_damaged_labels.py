"""Damaged labels of all four formats: a sentence each, counted, nothing left out silently."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from labelled_files import LABELS, small_data, written

from yolox_trt_ros.__main__ import main
from yolox_trt_ros.core.errors import ConfigError, YoloxTrtRosError
from yolox_trt_ros.datasets.faults import Fault
from yolox_trt_ros.datasets.formats import FORMATS, read_labelled
from yolox_trt_ros.datasets.labelled import LabelledBoxes, LabelledData, LabelledImage

ONE_FILE = ('coco', 'bdd100k')
A_FILE_EACH = {'voc': 'Annotations/p0.xml', 'darknet': 'labels/p0.txt'}


@pytest.mark.parametrize('kind', ONE_FILE)
@pytest.mark.parametrize(
    ('damage', 'message'),
    [
        (lambda raw: raw[: len(raw) // 2], 'not JSON'),
        (lambda raw: raw.decode().encode('utf-16'), 'expected UTF-8, got UTF-16'),
        (lambda raw: raw.replace(b'car', b'c\xe4r'), 'expected UTF-8, got the byte 0xe4'),
        (lambda raw: b'', 'not JSON'),
        (lambda raw: b'"text"', 'expected'),
    ],
)
def test_a_damaged_file_of_json_is_refused(kind, damage, message, tmp_path, capsys) -> None:
    path = written(kind, tmp_path)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ConfigError, match=message) as error:
        read_labelled(path)
    assert str(error.value).startswith(str(path)) and '\n' not in str(error.value)
    assert main(['evaluate', '--data', str(path)]) == 1
    assert len(capsys.readouterr().err.splitlines()) == 1


@pytest.mark.parametrize(
    ('kind', 'damage', 'message'),
    [
        ('voc', lambda raw: raw[: len(raw) // 2], 'not XML'),
        ('voc', lambda raw: raw.replace(b'car', b'c\xe4r'), 'expected UTF-8, got the byte 0xe4'),
        ('voc', lambda raw: b'<?xml version="1.0" encoding="utf-7"?>' + raw, '"utf-7" is not read'),
        ('voc', lambda raw: b'<!DOCTYPE a [<!ENTITY b "c">]>' + raw, 'has a DOCTYPE'),
        ('voc', lambda raw: b'<a>' * 100_000, 'not XML'),
        ('voc', lambda raw: b'<html/>', 'expected <annotation>'),
        ('darknet', lambda raw: b'0 0.5 \xff\xfe', 'expected UTF-8'),
        ('darknet', lambda raw: raw.decode().encode('utf-16'), 'got UTF-16'),
    ],
)
def test_a_damaged_file_of_one_picture_is_counted(kind, damage, message, tmp_path) -> None:
    path = written(kind, tmp_path)
    file = tmp_path / A_FILE_EACH[kind]
    file.write_bytes(damage(file.read_bytes()))
    data = read_labelled(path)
    assert [image.name for image in data.images] == ['p1.png', 'p2.png']
    assert data.faults.counts == {Fault.LABEL_FILE: 1}
    assert message in data.faults.sentences()[0]


def test_encodings_that_xml_names_are_read(tmp_path: Path) -> None:
    path = written('voc', tmp_path)
    file = tmp_path / A_FILE_EACH['voc']
    text = file.read_text().replace('>car<', '>cär<')
    for head, encoding in (
        ('', 'utf-16'),
        ('<?xml version="1.0" encoding="ISO-8859-1"?>', 'latin1'),
    ):
        file.write_bytes((head + text).encode(encoding))
        data = read_labelled(path)
        assert 'cär' in data.classes and not data.faults


def test_cut_darknet_labels_lose_the_cut_line_alone(tmp_path: Path) -> None:
    path = written('darknet', tmp_path)
    file = tmp_path / A_FILE_EACH['darknet']
    file.write_text(
        file.read_text()[:-12] + '\n3 0 0 0 0\n-1 0 0 0 0\n0 nan 0 0 0\n0 .5 .5 .1 -.1\n'
    )
    data = read_labelled(path)
    assert len(data.images[0].boxes) == 1 and len(data.images) == 3
    assert data.faults.counts == {
        Fault.BROKEN_ENTRY: 3, Fault.UNKNOWN_CLASS: 1, Fault.NEGATIVE_BOX: 1,
    }  # fmt: skip


def test_a_picture_without_darknet_labels_has_no_objects_and_is_counted(tmp_path: Path) -> None:
    path = written('darknet', tmp_path)
    (tmp_path / A_FILE_EACH['darknet']).unlink()
    data = read_labelled(path)
    assert len(data.images) == 3 and data.faults.counts == {Fault.NO_LABELS: 1}


def test_every_damage_of_coco_entries_is_counted(tmp_path: Path) -> None:
    path = written('coco', tmp_path)
    content = json.loads(path.read_text())
    good = content['annotations'][0]
    bad = [
        ({'image_id': 99}, Fault.UNLISTED), ({'category_id': 99}, Fault.UNKNOWN_CLASS),
        ({'bbox': [1, 2, -3, 4]}, Fault.NEGATIVE_BOX), ({'area': 'x'}, Fault.BROKEN_ENTRY),
        ({'bbox': [1, 2, 3]}, Fault.BROKEN_ENTRY),
        ({'bbox': [1, 2, 3, 1e300]}, Fault.BROKEN_ENTRY),
        ({'iscrowd': 'x'}, Fault.BROKEN_ENTRY), ({'image_id': None}, Fault.BROKEN_ENTRY),
    ]  # fmt: skip
    content['annotations'] += [{**good, **change} for change, _ in bad] + [7]
    content['images'].append({'id': 50})
    path.write_text(json.dumps(content))
    data = read_labelled(path)
    assert sum(len(image.boxes) for image in data.images) == 4
    assert data.faults.counts.total() == len(bad) + 2
    for _, kind in bad:
        assert data.faults.counts[kind]
    assert any('annotations[4]: image_id 99' in s for s in data.faults.sentences())
    content['images'].append(content['images'][0])
    path.write_text(json.dumps(content))
    with pytest.raises(ConfigError, match=r'images\[4\]: id 1 is given twice'):
        read_labelled(path)


def test_every_damage_of_bdd100k_entries_is_counted(tmp_path: Path) -> None:
    path = written('bdd100k', tmp_path)
    content = json.loads(path.read_text())
    good = content['frames'][0]['labels'][0]
    bad = [
        ({'box2d': {**good['box2d'], 'x2': -9}}, Fault.NEGATIVE_BOX),
        ({'box2d': [1, 2, 3, 4]}, Fault.BROKEN_ENTRY), ({'category': 3}, Fault.BROKEN_ENTRY),
        ({'box2d': {'x1': 0}}, Fault.BROKEN_ENTRY), ({'box2d': None}, Fault.NO_BOX),
    ]  # fmt: skip
    content['frames'][0]['labels'] += [{**good, **change} for change, _ in bad] + ['x']
    content['frames'] += [{'name': ''}, 5, content['frames'][1]]
    path.write_text(json.dumps(content))
    data = read_labelled(path)
    assert sum(len(image.boxes) for image in data.images) == 4 + 2
    assert data.faults.counts == {
        Fault.NEGATIVE_BOX: 1, Fault.BROKEN_ENTRY: 6, Fault.NO_BOX: 1, Fault.REPEATED: 1,
    }  # fmt: skip


def test_every_damage_of_voc_objects_is_counted(tmp_path: Path) -> None:
    path = written('voc', tmp_path)
    file = tmp_path / A_FILE_EACH['voc']
    box = '<bndbox><xmin>{}</xmin><ymin>1</ymin><xmax>5</xmax><ymax>5</ymax></bndbox>'
    bad = [
        f'<object><name>car</name>{box.format(50)}</object>', '<object><name>car</name></object>',
        f'<object>{box.format(1)}</object>', f'<object><name>car</name>{box.format("x")}</object>',
    ]  # fmt: skip
    file.write_text(file.read_text().replace('</annotation>', ''.join(bad) + '</annotation>'))
    data = read_labelled(path)
    assert len(data.images[0].boxes) == 2
    assert data.faults.counts == {
        Fault.NEGATIVE_BOX: 1, Fault.NO_BOX: 1, Fault.BROKEN_ENTRY: 2,
    }  # fmt: skip


@pytest.mark.parametrize('kind', FORMATS)
def test_a_picture_that_is_not_there_is_counted_and_named(kind, tmp_path, capsys) -> None:
    path = written(kind, tmp_path)
    folder = tmp_path / FORMATS[kind].pictures
    (folder / 'p0.png').rename(folder / 'p00.png')
    (folder / 'p1.png').write_bytes(b'no picture')
    out = tmp_path / 'figures.json'
    command = ['evaluate', '--data', str(path), *([str(folder)] if kind != 'darknet' else [])]
    assert main([*command, '--json', str(out)]) == 0
    report, message = json.loads(out.read_text()), capsys.readouterr().err
    assert report['images'] == 1
    assert report['faults'][Fault.NO_PICTURE.what] == 1
    assert report['faults'][Fault.DAMAGED_PICTURE.what] == 1
    assert 'did you mean "p' in message and 'p1.png: ' in message
    for file in folder.iterdir():
        file.unlink()
    assert main(command) == 1
    assert 'not there' in capsys.readouterr().err


@pytest.mark.parametrize('kind', FORMATS)
def test_many_thousand_annotations_are_read(kind: str, tmp_path: Path) -> None:
    count = 100_000 if kind == 'coco' else 20_000
    base = small_data(tmp_path / FORMATS[kind].pictures, 1).images[0]
    rng = np.random.default_rng(0)
    corner = rng.uniform(0, 60, (count, 2))
    table = np.concatenate([corner, corner + rng.uniform(1, 30, (count, 2))], 1)
    boxes = LabelledBoxes(table, np.arange(count) % 2, np.zeros(count, bool))
    image = LabelledImage(base.name, base.file, 128, 96, boxes)
    FORMATS[kind].write(LabelledData('many', kind, ('a', 'b'), [image]), tmp_path, 'val')
    data = read_labelled(tmp_path / LABELS[kind])
    assert len(data.images[0].boxes) == count and not data.faults


def test_what_is_no_data_set_is_refused(tmp_path: Path) -> None:
    (tmp_path / 'empty').mkdir()
    (tmp_path / 'a.csv').write_text('a,b\n')
    (tmp_path / 'obj.names').write_text('car\n')
    (tmp_path / 'list.txt').write_text('none.jpg\n')
    for name, message in (
        ('nowhere', 'no such file'), ('empty', 'expected pictures'), ('list.txt', 'not there'),
        ('a.csv', 'a,b'),
    ):  # fmt: skip
        with pytest.raises(YoloxTrtRosError, match=message) as error:
            read_labelled(tmp_path / name)
        assert '\n' not in str(error.value)
