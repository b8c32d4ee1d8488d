"""The four formats: what is written is read again, and conventions are those of their makers."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from labelled_files import CLASSES, small_data, written

from yolox_trt_ros.core.errors import ConfigError
from yolox_trt_ros.datasets.faults import Fault, Faults
from yolox_trt_ros.datasets.formats import FORMATS, read_labelled
from yolox_trt_ros.datasets.labelled import LabelledBoxes, LabelledData, LabelledImage


@pytest.mark.parametrize('kind', FORMATS)
def test_what_is_written_is_read_again(kind: str, tmp_path: Path) -> None:
    data = read_labelled(written(kind, tmp_path))
    assert (data.format, not data.faults) == (kind, True)
    assert data.classes == CLASSES
    assert [image.name for image in data.images] == ['p0.png', 'p1.png', 'p2.png']
    assert all(image.file.is_file() for image in data.images)
    assert all((image.width, image.height) == (128, 96) for image in data.images)
    first, second, third = (image.boxes for image in data.images)
    np.testing.assert_allclose(first.xyxy, [[1, 2, 41.5, 60], [0, 0, 128, 96]], atol=1e-5)
    assert first.class_id.tolist() == [1, 0] and len(third) == 0
    if kind == 'darknet':
        assert len(second) == 1 and np.isnan(first.distance_m).all()
    else:
        assert second.ignored.tolist() == [False, True]
        assert first.distance_m[0] == 12.5 and np.isnan(first.distance_m[1])


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(*[st.floats(-50, 700, allow_subnormal=False) for _ in range(2)],
                  *[st.floats(0, 700, allow_subnormal=False) for _ in range(2)],
                  st.integers(0, 1)),
        max_size=5,
    ),
    st.sampled_from(sorted(FORMATS)),
)  # fmt: skip
def test_boxes_survive_every_format(tmp_path_factory, rows, kind) -> None:
    folder = tmp_path_factory.mktemp('any')
    base = small_data(folder / FORMATS[kind].pictures, 1).images[0]
    table = np.array([(x, y, x + w, y + h) for x, y, w, h, _ in rows]).reshape(-1, 4)
    boxes = LabelledBoxes(table, np.array([r[4] for r in rows]), np.zeros(len(rows), bool))
    image = LabelledImage(base.name, base.file, 128, 96, boxes)
    FORMATS[kind].write(LabelledData('any', kind, CLASSES, [image]), folder, 'val')
    name = {'voc': 'Annotations', 'darknet': 'val.txt'}.get(kind, 'val.json')
    back = read_labelled(folder / name)
    assert not back.faults
    np.testing.assert_allclose(back.images[0].boxes.xyxy, table, atol=1e-5)
    names = [back.classes[c] for c in back.images[0].boxes.class_id]
    assert names == [CLASSES[r[4]] for r in rows]


def test_what_a_format_has_no_place_for_is_counted(tmp_path: Path) -> None:
    data = small_data(tmp_path / 'images')
    data.images[0].boxes.area[0] = 7.0
    lost = {kind: FORMATS[kind].write(data, tmp_path / kind, 'val') for kind in FORMATS}
    assert not lost['coco']
    assert lost['voc'].counts == lost['bdd100k'].counts == {Fault.LOST_AREA: 1}
    assert lost['darknet'].counts == {
        Fault.LOST_IGNORED: 1, Fault.LOST_AREA: 1, Fault.LOST_DISTANCE: 2,
    }  # fmt: skip


def test_voc_counts_pixels_from_one(tmp_path: Path) -> None:
    """VOC2007's 000001.jpg: a person from pixel 8, 12 to pixel 352, 498, both included."""
    (tmp_path / '000001.xml').write_text(
        '<annotation><filename>000001.jpg</filename><size><width>353</width><height>500</height>'
        '</size><object><name>person</name><difficult>1</difficult><bndbox><xmin>8</xmin>'
        '<ymin>12</ymin><xmax>352</xmax><ymax>498</ymax></bndbox><part><name>head</name><bndbox>'
        '<xmin>1</xmin><ymin>1</ymin><xmax>9</xmax><ymax>9</ymax></bndbox></part></object>'
        '</annotation>'
    )
    data = read_labelled(tmp_path)
    (image,) = data.images
    assert data.classes == ('person',) and image.boxes.ignored.tolist() == [True]
    assert image.boxes.xyxy.tolist() == [[7, 11, 352, 498]]
    assert image.boxes.area.tolist() == [345 * 487]


def test_bdd100k_includes_the_last_pixel_and_knows_the_older_files(tmp_path: Path) -> None:
    box = {'x1': 10, 'y1': 20, 'x2': 19, 'y2': 29}
    label = {'category': 'bike', 'attributes': {'crowd': True}, 'box2d': box}
    lane = {'category': 'lane', 'poly2d': [{'vertices': [[0, 0]]}]}
    older = {'name': 'b1c66a42', 'frames': [{'timestamp': 10000, 'objects': [label, lane]}]}
    for content in ([{'name': 'b1c66a42.jpg', 'labels': [label, lane]}], older):
        (tmp_path / 'det.json').write_text(json.dumps(content))
        data = read_labelled(tmp_path / 'det.json')
        assert (data.format, data.classes) == ('bdd100k', ('bike',))
        (image,) = data.images
        assert image.name == 'b1c66a42.jpg' and image.boxes.ignored.all()
        assert image.boxes.xyxy.tolist() == [[10, 20, 20, 30]]
        assert data.faults.counts == {Fault.NO_BOX: 1}


def test_coco_takes_area_crowd_and_ignore_as_pycocotools_does(tmp_path: Path) -> None:
    rows = [{'area': 3.5}, {'iscrowd': 1}, {'ignore': 1}]
    content = {
        'images': [{'id': 'a', 'file_name': 'x/1.jpg', 'width': 9, 'height': 9}],
        'categories': [{'id': 7, 'name': 'car'}],
        'annotations': [
            {'image_id': 'a', 'category_id': 7, 'bbox': [1, 2, 3, 4], **row} for row in rows
        ],
    }
    (tmp_path / 'l.json').write_text(json.dumps(content))
    data = read_labelled(tmp_path / 'l.json')
    boxes = data.images[0].boxes
    assert boxes.area.tolist() == [3.5, 12, 12]
    assert boxes.ignored.tolist() == [False, True, False]
    assert data.faults.counts == {Fault.IGNORE_FLAG: 1}


@pytest.mark.parametrize('how', ['folder', 'list', 'data', 'yaml', 'beside', 'names'])
def test_darknet_is_found_in_every_arrangement(how: str, tmp_path: Path) -> None:
    written('darknet', tmp_path)
    options = {}
    path = tmp_path
    if how == 'list':
        path = tmp_path / 'val.txt'
    elif how == 'data':
        path = tmp_path / 'obj.data'
    elif how == 'yaml':
        path = tmp_path / 'data.yaml'
        path.write_text('path: .\nval: images\nnames: {0: car, 1: traffic light}\n')
    elif how == 'beside':
        for file in (tmp_path / 'labels').iterdir():
            file.rename(tmp_path / 'images' / file.name)
        path = tmp_path / 'images'
    elif how == 'names':
        (tmp_path / 'obj.names').rename(tmp_path / 'other')
        options = {'names': tmp_path / 'other'}
    data = read_labelled(path, **options)
    assert [len(image.boxes) for image in data.images] == [2, 1, 0] and not data.faults


def test_darknet_without_names_says_how_to_give_them(tmp_path: Path) -> None:
    written('darknet', tmp_path)
    (tmp_path / 'obj.names').unlink()
    with pytest.raises(ConfigError, match=r'--names, or put obj\.names beside them'):
        read_labelled(tmp_path)


def test_voc_reads_a_split_and_pictures_of_another_folder(tmp_path: Path) -> None:
    written('voc', tmp_path / 'voc')
    (tmp_path / 'voc' / 'JPEGImages').rename(tmp_path / 'photos')
    split = tmp_path / 'voc' / 'ImageSets' / 'Main' / 'val.txt'
    split.write_text('p1\np0 1\nnone\n')
    data = read_labelled(split, tmp_path / 'photos')
    assert [image.name for image in data.images] == ['p1.png', 'p0.png']
    assert data.images[0].file == tmp_path / 'photos' / 'p1.png'
    assert data.faults.counts == {Fault.LABEL_FILE: 1}


def test_faults_are_joined_and_few_places_are_named() -> None:
    a, b = Faults(), Faults()
    for k in range(5):
        (a if k % 2 else b).add(Fault.NEGATIVE_BOX, f'place {k}\n')
    a.join(b)
    (sentence,) = a.sentences()
    assert sentence.startswith('5 × box of negative width or height (left out): place 1\\n; ')
    assert sentence.endswith('…') and '\n' not in sentence
    assert a.to_json() == {'box of negative width or height': 5}
