"""Files that give classes other names."""

from __future__ import annotations

from pathlib import Path

import pytest

from yolox_trt_ros.core.class_names import AUTOWARE
from yolox_trt_ros.core.errors import ConfigError
from yolox_trt_ros.detect.class_map import read_class_map

SEVERAL = (('car', 'vehicle'), ('truck', 'vehicle'), ('person', 'pedestrian'), ('kite', None))
REMAP = """\
Autoware label,id  # a head, always
CAR,1
TRUCK, 2   # a comment

MOTORBIKE,5
SIGN,-1
"""


def written(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ('name', 'text'),
    [
        ('a.yaml', 'car: vehicle\ntruck: vehicle\nperson: pedestrian\nkite:\n'),
        ('a.yml', 'vehicle: [car, truck]\nperson: pedestrian\nkite: ""\n'),
        ('a.csv', 'car,vehicle\ntruck,vehicle\nperson,pedestrian\nkite,\n'),
        (
            'A.CSV',
            '\ufeffname,result\r\ncar, vehicle\r\n\r\ntruck,vehicle\r\n'
            'person,"pedestrian"\r\nkite,',
        ),
    ],
)
def test_names(tmp_path: Path, name: str, text: str) -> None:
    assert read_class_map(written(tmp_path, name, text)).targets == SEVERAL


def test_a_remap_file_of_autoware(tmp_path: Path) -> None:
    found = read_class_map(written(tmp_path, 'remap.csv', REMAP))
    assert found.names == AUTOWARE and AUTOWARE[5] == 'MOTORCYCLE'
    assert found.targets == (
        ('CAR', 'CAR'), ('TRUCK', 'TRUCK'), ('MOTORBIKE', 'MOTORCYCLE'), ('SIGN', None)
    )  # fmt: skip


@pytest.mark.parametrize(
    ('name', 'text', 'message'),
    [
        ('a.csv', 'car\n', 'expected two columns'),
        ('a.csv', 'car,b,c\n', 'expected two columns'),
        ('a.csv', ',vehicle\n', 'expected two columns'),
        ('a.csv', '\n# nothing\n', 'expected names of classes, got none'),
        ('a.csv', 'car,vehicle\ncar,truck\n', '"car" is there twice'),
        ('a.csv', 'head,id\ncar,1\nbus,12\n', '"bus": expected a number of Autoware.* 0 to 11'),
        ('a.csv', 'head,id\ncar,-2\n', 'or -1, got -2'),
        ('a.yaml', 'car: {b: c}\n', 'expected names of classes'),
        ('a.yaml', 'car: no\n', 'in quotes'),
        ('a.yaml', '1.5: car\n', 'expected names of classes'),
        ('a.yaml', 'x: [car, bus]\ny: [car]\n', '"car" is there twice'),
        ('a.yaml', '', 'got none'),
        ('a.txt', 'car,b', 'expected a .csv, .yaml or .yml'),
    ],
)
def test_what_is_no_map_is_refused(tmp_path: Path, name: str, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_class_map(written(tmp_path, name, text))


def test_a_missing_file_is_refused_with_the_nearest(tmp_path: Path) -> None:
    written(tmp_path, 'vehicles.csv', 'a,b')
    with pytest.raises(ConfigError, match=r'no such file — did you mean "vehicles\.csv"'):
        read_class_map(tmp_path / 'vehicle.csv')
