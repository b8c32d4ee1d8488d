"""Bags of a fleet are found, indexed without their pixels, and cut into segments."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

pytest.importorskip('pyarrow', reason='the extra [fleet] is not installed')

from fleet_bags import DAMAGES, KINDS, PERIOD_NS, T0, damaged_bag, write_bag
from hypothesis import given, settings
from hypothesis import strategies as st

from yolox_trt_ros.bags.reader import Bag
from yolox_trt_ros.bags.storage import Storage
from yolox_trt_ros.core.config import Config
from yolox_trt_ros.core.errors import ConfigError
from yolox_trt_ros.fleet.find import FoundBag, find_bags
from yolox_trt_ros.fleet.index import CameraTopic, IndexedBag, index_bag, index_bags
from yolox_trt_ros.fleet.plan import FleetPlan, bag_id, segments_of
from yolox_trt_ros.fleet.store import Store


def names(bags: list[FoundBag], root: Path) -> list[str]:
    return [bag.uri.removeprefix(f'{root}/') for bag in bags]


@pytest.fixture
def drives(tmp_path: Path) -> Path:
    """Return a folder with bags in folders, bags that are files, and what is none."""
    root = tmp_path / 'drives'
    (root / 'monday').mkdir(parents=True)
    (root / 'files').mkdir()
    for name in ('monday/a', 'monday/b', 'c'):
        write_bag(root / name, images=2)
    for name in ('x', 'y'):
        (root / 'files' / f'{name}.mcap').write_bytes((root / 'c' / 'c.mcap').read_bytes())
    (root / 'monday' / 'notes.txt').write_text('sunny')
    broken = root / 'interrupted'
    broken.mkdir()
    for part in range(2):
        (broken / f'interrupted_{part}.mcap').write_bytes(b'')
    return root


def test_bags_are_found_below_a_folder_and_by_pattern(drives: Path) -> None:
    everything = ['c', 'files/x.mcap', 'files/y.mcap', 'interrupted', 'monday/a', 'monday/b']
    assert names(find_bags([str(drives)]), drives) == everything
    assert names(find_bags([f'{drives}/mon*']), drives) == ['monday/a', 'monday/b']
    assert names(find_bags([f'{drives}/**/*.mcap']), drives) == everything, 'files of folders too'
    assert names(find_bags([f'{drives}/mon*/**/*.mcap']), drives) == ['monday/a', 'monday/b']
    assert names(find_bags([f'{drives}/fil*/**/x.mcap']), drives) == ['files/x.mcap']
    with pytest.raises(ConfigError, match='there is none'):
        find_bags([f'{drives}/*.mcap'])  # a star stays within a name
    one = str(drives / 'c')
    assert names(find_bags([one, one, str(drives / 'files/x.mcap')]), drives) == [
        'c', 'files/x.mcap',
    ]  # fmt: skip
    assert all(bag.size > 0 for bag in find_bags([str(drives)]) if 'interrupted' not in bag.uri)
    with pytest.raises(ConfigError, match='there is none'):
        find_bags([str(drives / 'tuesday')])


def test_manifests_name_bags_and_their_conditions(drives: Path) -> None:
    (drives / 'all.csv').write_text('bag,weather,road\nmonday/a,rain,town\nc,,motorway\n')
    first, second = find_bags([str(drives / 'all.csv')])
    assert (first.uri, first.conditions) == (
        str(drives / 'monday/a'), {'weather': 'rain', 'road': 'town'},
    )  # fmt: skip
    assert second.conditions == {'road': 'motorway'}
    (drives / 'some.txt').write_text('# of monday\nmonday/b\n')
    assert names(find_bags([str(drives / 'some.txt')]), drives) == ['monday/b']
    (drives / 'wrong.csv').write_text('path\nc\n')
    with pytest.raises(ConfigError, match='expected a column "bag", got path'):
        find_bags([str(drives / 'wrong.csv')])
    (drives / 'some.txt').write_text('monday/b\ntuesday\nmonday\n')
    with pytest.raises(ConfigError, match=r'some\.txt: 1 of 3 entries mean no bag: .*/tuesday$'):
        find_bags([str(drives / 'some.txt')])
    (drives / 'some.txt').write_text('# none\n')
    with pytest.raises(ConfigError, match=r'some\.txt: expected names of bags, there are none'):
        find_bags([str(drives / 'some.txt')])


@pytest.mark.parametrize(
    'uri', ['s3://KEY:SECRET@bucket/x', 's3://KEY:SEC/RET@bucket/x*', 'gs://KEY@bucket/all.csv']
)
def test_keys_in_uris_are_refused_and_not_shown(uri: str) -> None:
    for use in (Store, lambda name: find_bags([name])):
        with pytest.raises(ConfigError, match='keys do not belong in a URI') as refusal:
            use(uri)
        assert 'KEY:' not in str(refusal.value) and 'bucket' not in str(refusal.value)
    assert Store('file:///data/out').uri == '/data/out'


def test_what_is_in_bags_is_known_without_their_pixels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bags = [
        write_bag(tmp_path / f'bag{i}', kind, images=4, truth=True)
        for i, kind in enumerate(KINDS[::2])
    ]

    def refuse(*_: object) -> None:
        raise AssertionError('messages are read')

    monkeypatch.setattr(Bag, 'messages', refuse)
    monkeypatch.setattr(Storage, 'messages', refuse)
    counted: list[int] = []
    for bag in index_bags([FoundBag(str(b)) for b in bags], None, lambda: counted.append(1)):
        assert bag.problem == ''
        assert [(c.topic, c.transport, c.count) for c in bag.cameras] == [
            ('/front/image_raw', 'raw', 4), ('/rear/image_raw/compressed', 'compressed', 4),
        ]  # fmt: skip
        assert [c.truth for c in bag.cameras] == ['/front/ground_truth', '/rear/ground_truth']
        assert (bag.start_ns, bag.images) == (T0, 8)
        assert bag.end_ns - bag.start_ns == pytest.approx(3 * PERIOD_NS, abs=10_000)
    assert len(counted) == len(bags)


def test_a_vehicle_says_whose_images_they_are(tmp_path: Path) -> None:
    bag = FoundBag(str(write_bag(tmp_path / 'bag', images=2)))
    names = ['front', 'rear', 'left']
    config = Config.from_parameters({'camera_names': names, 'lane_names': ['cpu']})
    found = index_bag(bag, config)
    # The rear camera was recorded compressed; the vehicle's file says raw.
    assert [(c.camera, c.topic) for c in found.cameras] == [
        ('front', '/front/image_raw'), ('rear', '/rear/image_raw/compressed'),
    ]  # fmt: skip
    assert found.missing == ('left',)
    other = Config.from_parameters({'camera_names': ['left'], 'lane_names': ['cpu']})
    assert 'has no image of left; topics with images: /front' in index_bag(bag, other).problem


def test_damaged_bags_are_named_and_end_nothing(tmp_path: Path) -> None:
    bags = [damaged_bag(tmp_path / f'bag{i}', how) for i, how in enumerate(DAMAGES)]
    indexed = index_bags([FoundBag(str(bag)) for bag in bags], None, lambda: None)
    verdicts = dict(zip(DAMAGES, indexed, strict=True))
    whole = {'cut in half', 'middle overwritten', 'end overwritten'}
    assert {how for how, bag in verdicts.items() if not bag.problem} == whole
    assert verdicts['cut in half'].warnings
    plan = FleetPlan.of(indexed, 60)
    assert len(plan.unreadable) == len(DAMAGES) - len(whole)
    assert {s.bag for s in plan.segments} == {verdicts[how].found.uri for how in whole}


@settings(max_examples=30)
@given(
    start=st.integers(0, 10**18),
    span=st.integers(0, 10**13),
    segment_s=st.floats(0.5, 1e5),
    images=st.integers(1, 10**6),
)
def test_every_message_is_in_one_segment(
    start: int, span: int, segment_s: float, images: int
) -> None:
    camera = CameraTopic('a', '/a', 'raw', images)
    bag = IndexedBag(FoundBag('/x'), '', start, start + span, (camera,))
    segments = list(segments_of(bag, segment_s))
    assert segments[0].start_ns == start
    assert segments[-1].stop_ns == start + span + 1
    assert all(a.stop_ns == b.start_ns for a, b in pairwise(segments))
    assert all(0 < s.stop_ns - s.start_ns <= round(segment_s * 1e9) for s in segments)
    assert sum(s.images for s in segments) == images
    assert [s.number for s in segments] == list(range(len(segments)))
    assert len({s.file for s in segments}) == len(segments)


def test_bags_of_one_name_have_different_files() -> None:
    assert bag_id('/a/drive') != bag_id('/b/drive')
    assert bag_id('/a/dri ve/').startswith('dri_ve-')
