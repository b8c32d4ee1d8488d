"""Class files: subsets, other names, and labels that are ignored."""

from __future__ import annotations

from pathlib import Path

import pytest
from labelled_files import small_data

from yolox_trt_ros.core.errors import ConfigError
from yolox_trt_ros.datasets.classes import chosen_classes, read_choice
from yolox_trt_ros.datasets.faults import Fault


def chosen(tmp_path: Path, text: str, name: str = 'classes.yaml'):
    file = tmp_path / name
    file.write_text(text)
    return chosen_classes(small_data(tmp_path / 'p'), read_choice(file))


def test_a_list_is_a_subset_in_its_order_and_what_it_leaves_out_is_counted(tmp_path: Path) -> None:
    data = chosen(tmp_path, 'trafficlight\n', 'classes.txt')
    assert data.classes == ('trafficlight',), 'spellings of one class are one'
    assert [image.boxes.class_id.tolist() for image in data.images] == [[0], [0], []]
    assert data.faults.counts == {Fault.NOT_WANTED: 2}
    both = chosen(tmp_path, 'traffic light\ncar\n', 'classes.txt')
    assert both.images[0].boxes.class_id.tolist() == [0, 1] and not both.faults


def test_names_are_mapped_left_out_and_ignored(tmp_path: Path) -> None:
    data = chosen(tmp_path, 'map: {car: vehicle}\n')
    assert set(data.classes) == {'vehicle', 'traffic light'}
    data = chosen(tmp_path, 'map: {car: }\n')
    assert data.classes == ('traffic light',)
    assert data.faults.counts == {Fault.NOT_WANTED: 2}
    data = chosen(tmp_path, 'classes: [car]\nignore: {traffic_light: car}\n')
    assert data.images[0].boxes.class_id.tolist() == [0, 0]
    assert data.images[0].boxes.ignored.tolist() == [True, False]
    merged = chosen(tmp_path, 'classes: [thing]\nmap: {car: thing, traffic light: thing}\n')
    assert merged.classes == ('thing',) and len(merged.images[0].boxes) == 2


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('clases: [car]', 'did you mean "classes"'), ('classes: car', 'expected a list of names'),
        ('map: [car]', 'expected name: name'), ('map: {cat: car}', '"cat" is not labelled here'),
        ('classes: [car]\nmap: {car: cra}', 'is not under "classes" — did you mean "car"'),
        ('classes: [dog]', 'none of its classes is labelled here: car, traffic light'),
        ('ignore: {car: }', 'expected name: name'),
    ],
)  # fmt: skip
def test_a_wrong_class_file_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        chosen(tmp_path, text)
