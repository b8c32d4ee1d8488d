"""From parameters to rules: which classes count, under which names, above which scores."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from yolox_trt_ros.core.camera_config import CameraConfig
from yolox_trt_ros.core.class_names import AUTOWARE
from yolox_trt_ros.core.config import Config, ModelConfig
from yolox_trt_ros.core.errors import ConfigError
from yolox_trt_ros.core.model import Thresholds
from yolox_trt_ros.core.parameters import build
from yolox_trt_ros.core.rules import Rules
from yolox_trt_ros.detect.thresholds import thresholds_of

LABELS = ('car', 'truck', 'bus', 'person', 'traffic light')


def camera(name: str = 'front', **values: Any) -> CameraConfig:
    flat = {f'cameras.{name}.{key}': value for key, value in values.items()}
    names = {'camera_names': [name], 'lane_names': ['a']}
    return Config.from_parameters({**names, **flat}).cameras[0]


def made(*cameras: CameraConfig, **model: Any) -> Thresholds:
    return thresholds_of(LABELS, build(ModelConfig, model), cameras)


def rules(thresholds: Thresholds) -> Rules:
    assert thresholds.rules
    return thresholds.rules


def scores(thresholds: Thresholds) -> list[float]:
    return [round(score, 6) for score in rules(thresholds).scores.tolist()]


@pytest.fixture
def vehicles(tmp_path: Path) -> str:
    path = tmp_path / 'map.yaml'
    path.write_text('vehicle: [car, Truck]\nperson: pedestrian\ntraffic_light:\n')
    return str(path)


def test_without_any_of_it_all_classes_count() -> None:
    plain = made(score_threshold=0.4)
    assert scores(plain) == [0.4] * 5 and plain.score == pytest.approx(0.4)
    assert rules(plain).labels == LABELS and rules(plain).wanted == [0, 1, 2, 3, 4]
    assert not plain.cameras


@pytest.mark.parametrize('classes', [['car', 'person'], ['0', '3'], [0, 3], ['Car', '3', 'car']])
def test_classes_by_name_or_number(classes: list[Any]) -> None:
    found = rules(made(classes=classes))
    assert found.wanted == [0, 3]
    assert found.labels == LABELS, 'numbers stay what they are'
    assert found.names == ['car', '', '', 'person', '']


def test_a_map_puts_classes_together(vehicles: str) -> None:
    found = rules(made(class_map=vehicles))
    assert found.labels == ('vehicle', 'pedestrian', 'bus')
    assert found.names == ['vehicle', 'vehicle', 'bus', 'pedestrian', '']
    assert found.class_ids[:4].tolist() == [0, 0, 2, 1]


@pytest.mark.parametrize(
    ('classes', 'names'),
    [
        (['vehicle'], ['vehicle', 'vehicle', '', '', '']),
        (['0', 'bus'], ['vehicle', 'vehicle', 'bus', '', '']),
        (['truck'], ['', 'vehicle', '', '', '']),
        (['person', 'pedestrian'], ['', '', '', 'pedestrian', '']),
    ],
)
def test_classes_of_a_map(vehicles: str, classes: list[str], names: list[str]) -> None:
    assert rules(made(class_map=vehicles, classes=classes)).names == names


def test_a_name_of_the_map_and_of_the_model_is_one_class(tmp_path: Path) -> None:
    path = tmp_path / 'map.csv'
    path.write_text('truck,Car\n')
    found = rules(made(class_map=str(path)))
    assert found.labels == ('Car', 'bus', 'person', 'traffic light')
    assert found.class_ids.tolist() == [0, 0, 1, 2, 3]


def test_a_remap_file_of_autoware_gives_its_numbers(tmp_path: Path) -> None:
    path = tmp_path / 'remap.csv'
    path.write_text('name,id\nCAR,1\nTRUCK,2\nBUS,3\nPERSON,7\nTRAFFIC_LIGHT,-1\n')
    found = rules(made(class_map=str(path)))
    assert found.labels == AUTOWARE and found.wanted == [1, 2, 3, 7]
    path.write_text('name,id\nCAR,1\nTRUCK,2\nBUS,3\nPERSON,7\nTRAFFIC_LIGHT,-1\nDEBRIS,0\n')
    assert rules(made(class_map=str(path))).wanted == [1, 2, 3, 7], 'one file for all its models'
    path.write_text('name,id\nCAR,1\nTRUCK,2\nBUS,3\nPERSON,7\n')
    with pytest.raises(ConfigError, match='every class of the model, "traffic light" is missing'):
        made(class_map=str(path))


def test_scores_of_classes_and_cameras(vehicles: str) -> None:
    common = {'class_map': vehicles, 'score_threshold': 0.3, 'class_thresholds': ['vehicle=0.5']}
    own = camera('own', score_threshold=0.6, class_thresholds=['truck=0.1', 'bus = .2'])
    only = camera('only', class_thresholds=['pedestrian=0.9'])
    found = made(own, only, camera('none'), **common)
    inf = math.inf
    assert scores(found) == [0.5, 0.5, 0.3, 0.3, inf] and found.score == pytest.approx(0.3)
    assert scores(found.of('own')) == [0.6, 0.1, 0.2, 0.6, inf]
    assert found.of('own').score == pytest.approx(0.1)
    assert scores(found.of('only')) == [0.5, 0.5, 0.3, 0.9, inf]
    assert found.of('none') is found and {*found.cameras} == {'own', 'only'}


def test_a_camera_may_have_ignored_parts_only() -> None:
    found = made(camera(ignore=['rows 90%-']), classes=['car'])
    assert len(rules(found.of('front')).edges) == 4 and not len(rules(found).edges)
    assert rules(found.of('front')).wanted == [0]


def test_other_limits_are_common() -> None:
    found = made(camera(score_threshold=0.5), nms_iou=0.7, class_agnostic=True, max_detections=9)
    own = found.of('front')
    assert (own.nms_iou, own.class_agnostic, own.max_detections) == (0.7, True, 9)


@pytest.mark.parametrize(
    ('values', 'message'),
    [
        ({'classes': ['cars']}, r'model\.classes: there is no class "cars" — did you mean "car"'),
        ({'classes': ['5']}, r'model\.classes: there is no class "5"'),
        ({'class_thresholds': ['persn=0.2']}, r'class_thresholds: .*did you mean "person"'),
        ({'class_map': 'nowhere.csv'}, r'model\.class_map: nowhere\.csv: there is no such file'),
    ],
)
def test_unknown_names_are_refused_with_the_nearest(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        made(**values)


def test_unknown_names_of_a_camera_or_a_map_are_refused(vehicles: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r'cameras\.front\.class_thresholds: .*mean "bus"'):
        made(camera(class_thresholds=['buss=0.2']))
    with pytest.raises(ConfigError, match='no class "traffic light"'):
        made(class_map=vehicles, classes=['traffic light'])
    (tmp_path / 'b.csv').write_text('lorry,truck\ntrck,vehicle\n')
    with pytest.raises(ConfigError, match=r'b\.csv: the model has no class "lorry"'):
        made(class_map=str(tmp_path / 'b.csv'))
    (tmp_path / 'b.csv').write_text('car,truck\n0,vehicle\n')
    with pytest.raises(ConfigError, match='"car" is there twice'):
        made(class_map=str(tmp_path / 'b.csv'))
    (tmp_path / 'c.yaml').write_text('{car: , truck: , bus: , person: , traffic light: }')
    with pytest.raises(ConfigError, match='leaves out every class'):
        made(class_map=str(tmp_path / 'c.yaml'))


@pytest.mark.parametrize(
    'text', ['person', '=0.2', 'person=', 'person=1.1', 'person=-0.1', 'person=nan', 'person=1e-1']
)
def test_what_is_no_score_of_a_class_is_refused_by_the_configuration(text: str) -> None:
    with pytest.raises(
        ConfigError, match=r'cameras\.front\.class_thresholds: expected CLASS=SCORE'
    ):
        camera(class_thresholds=[text])
    flat = {'camera_names': ['a'], 'lane_names': ['a'], 'model.class_thresholds': [text]}
    with pytest.raises(ConfigError, match=r'model\.class_thresholds: expected CLASS=SCORE'):
        Config.from_parameters(flat)


SCORE = st.integers(0, 100).map(lambda percent: percent / 100)
TARGET = st.sampled_from(['vehicle', 'human', 'car', None])


@given(
    st.dictionaries(st.sampled_from(LABELS), TARGET, min_size=1),
    st.lists(st.tuples(st.sampled_from(LABELS), SCORE), max_size=4),
    st.sampled_from([0.0, 0.25, 1.0]),
    st.lists(st.tuples(st.sampled_from(LABELS), SCORE), max_size=4),
    SCORE,
)
def test_each_class_against_the_words_of_the_parameters(
    tmp_path_factory: pytest.TempPathFactory,
    mapping: dict[str, str | None],
    of_classes: list[tuple[str, float]],
    of_camera: float,
    both: list[tuple[str, float]],
    common: float,
) -> None:
    names = {label: mapping.get(label, label) for label in LABELS}
    if not any(names.values()):
        return
    path = tmp_path_factory.mktemp('maps') / 'm.yaml'
    path.write_text(yaml.safe_dump(mapping))
    # A name means the class of the result; where the map has given it away, the model's own.
    published = {name for name in names.values() if name}

    def meant(name: str) -> set[str]:
        wanted = {name} if name not in published else {k for k, v in names.items() if v == name}
        return {label for label in wanted if names[label]}

    of_classes = [(name, score) for name, score in of_classes if meant(name)]
    both = [(name, score) for name, score in both if meant(name)]
    one = camera(
        score_threshold=of_camera, class_thresholds=[f'{name}={score}' for name, score in both]
    )
    found = made(
        one,
        class_map=str(path),
        score_threshold=common,
        class_thresholds=[f'{name}={score}' for name, score in of_classes],
    ).of('front')
    for i, label in enumerate(LABELS):
        limits = [common]
        limits += [score for name, score in of_classes if label in meant(name)]
        limits += [of_camera] if of_camera else []
        limits += [score for name, score in both if label in meant(name)]
        assert rules(found).names[i] == (names[label] or '')
        expected = limits[-1] if names[label] else math.inf
        assert rules(found).scores[i] == np.float32(expected)
