"""A fleet's results are those of the detector alone, each segment once, whatever ended the run."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip('pyarrow', reason='the extra [fleet] is not installed')

import pyarrow.dataset as dataset
from fleet_bags import KINDS, PERIOD_NS, T0, damaged_bag, write_bag
from tiny_models import write_yolox
from videos import encode, pictures, video_bag, write_video

from yolox_trt_ros.__main__ import main
from yolox_trt_ros.bags.reader import Bag
from yolox_trt_ros.core.config import Config, ModelConfig
from yolox_trt_ros.core.errors import BagError, FrameError
from yolox_trt_ros.core.transports import TRANSPORT_OF_TYPE
from yolox_trt_ros.detector import Detector, lane_of
from yolox_trt_ros.fleet.find import FoundBag
from yolox_trt_ros.fleet.index import index_bag
from yolox_trt_ros.fleet.job import differences, job_of
from yolox_trt_ros.fleet.plan import FleetPlan
from yolox_trt_ros.fleet.plan_table import estimate
from yolox_trt_ros.fleet.run_here import measured_rate
from yolox_trt_ros.ros.input.codecs import Arrival
from yolox_trt_ros.ros.input.readers import new_reader

SCORE = 0.5
Found = dict[tuple[str, str, int], list[tuple[Any, ...]]]


@pytest.fixture(scope='module')
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_yolox(tmp_path_factory.mktemp('model') / 'tiny.onnx')


@pytest.fixture(scope='module')
def drives(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a bag in each storage, a video, and two damaged ones, one of no use."""
    root = tmp_path_factory.mktemp('drives')
    for i, kind in enumerate(KINDS[1::2]):
        write_bag(root / f'bag{i}', kind, images=5, seed=1000 * i)
    # Most of its segments begin between two key frames.
    packets = encode('vp9', list(pictures(12)))
    video_bag(root / 'video', {'/front/video': packets}, 'vp9')
    write_video(root / 'dash.mp4', 7, max_b_frames=2)
    damaged_bag(root / 'half', 'cut in half')
    damaged_bag(root / 'empty', 'empty file')
    return root


@pytest.fixture(autouse=True)
def _tables_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the estimate before a run and the page after it, which have tests of their own."""
    monkeypatch.setattr('yolox_trt_ros.tools.fleet.measured_rate', lambda *_: 0.0)
    monkeypatch.setattr('yolox_trt_ros.tools.fleet.finished', lambda *_, **__: ())


def fleet(*words: object) -> int:
    return main(['fleet', *map(str, words)])


def table(out: Path, name: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = (
        dataset.dataset(out / name, partitioning='hive').to_table().to_pylist()
    )
    return rows


def images_of(out: Path) -> Found:
    """Return detections by bag, camera and stamp; of images without any, too."""
    found: Found = {}
    for row in table(out, 'images'):
        key = row['bag'], row['camera'], row['stamp_ns']
        assert key not in found, 'an image is there twice'
        found[key] = []
    for row in table(out, 'detections'):
        box = tuple(row[name] for name in ('x1', 'y1', 'x2', 'y2'))
        key = row['bag'], row['camera'], row['stamp_ns']
        found[key].append((row['class'], row['class_id'], row['score'], box, row['frame_id']))
    return found


def alone(drives: Path, model: Path) -> Found:
    """Return what a plain loop around the detector finds."""
    found: Found = {}
    with Detector(model, score_threshold=SCORE) as detect:
        for path in sorted(drives.iterdir()):
            if path.name == 'empty':
                continue
            with Bag(path, warn=lambda _: None) as bag:
                topics = [n for n, t in bag.topics.items() if t.type in TRANSPORT_OF_TYPE]
                readers = {n: new_reader(TRANSPORT_OF_TYPE[bag.topics[n].type]) for n in topics}
                for message in bag.messages(topics):
                    frame = readers[message.topic](message.cdr, Arrival(message.topic, 0, 0))
                    found[str(path), message.topic, frame.stamp_ns] = [
                        (one.label, one.class_id, one.score, one.box, frame.frame_id)
                        for one in detect(frame)
                    ]
    return found


def test_the_estimate_is_measured(tmp_path: Path, model: Path) -> None:
    bag = write_bag(tmp_path / 'bag', images=3)
    plan = FleetPlan.of([index_bag(FoundBag(str(bag)), None)], 60)
    job = job_of(
        ModelConfig(path=str(model)),
        None,
        out='',
        truth_labels=(),
        segment_s=60.0,
        lane=lane_of(max_batch=2),
    )
    rate = measured_rate(job, plan.segments[0])
    assert rate > 0
    assert '6 images at 2.0 images/s a worker, 1 worker: 3 s' in estimate(plan.segments, 2.0, 1)


@pytest.fixture(scope='module')
def done(tmp_path_factory: pytest.TempPathFactory, drives: Path, model: Path) -> Path:
    """Return the results of a whole run."""
    out = tmp_path_factory.mktemp('results') / 'out'
    code = fleet(drives, '--out', out, '--model', model, '--segment-s', 0.2, '--score', SCORE)
    assert code == 1, 'a bag cannot be read, which a script has to notice'
    return out


def test_results_are_those_of_the_detector_alone(done: Path, drives: Path, model: Path) -> None:
    expected = alone(drives, model)
    assert any(expected.values())
    assert images_of(done) == expected


def test_segments_are_accounted_for(done: Path, drives: Path, model: Path) -> None:
    rows = table(done, 'segments')
    by_bag = {row['bag'] for row in rows}
    assert by_bag == {str(p) for p in drives.iterdir() if p.name != 'empty'}
    assert {row['status'] for row in rows} == {'ok'}
    of_first = [row for row in rows if row['bag'] == str(drives / 'bag0')]
    assert sorted(row['segment'] for row in of_first) == [0, 1, 2]
    assert sum(row['images'] for row in rows) == len(table(done, 'images'))
    assert sum(row['detections'] for row in rows) == len(table(done, 'detections'))
    assert {row['model'] for row in rows} == {model.name}
    days = {row['day'] for row in rows if not row['bag'].endswith('.mp4')}
    assert days == {'2023-11-14'}
    (empty,) = [row for row in table(done, 'bags') if row['problem']]
    assert empty['bag'] == str(drives / 'empty')
    (half,) = [row for row in table(done, 'bags') if row['bag'] == str(drives / 'half')]
    assert half['warnings']


@pytest.fixture
def ending_after(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Have Ctrl-C pressed while a segment is written: after so many files."""
    from yolox_trt_ros.fleet.store import Store

    left = [10**9]
    write = Store.write

    def ending(self: Store, name: str, content: bytes) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        write(self, name, content)

    monkeypatch.setattr(Store, 'write', ending)
    yield left


def test_an_interrupted_run_is_resumed(
    tmp_path: Path, model: Path, ending_after: list[int]
) -> None:
    bag, other = (
        write_bag(tmp_path / name, images=4, cameras=['front'], encodings=['bgr8'])
        for name in ('one', 'other')
    )
    out, whole = tmp_path / 'out', tmp_path / 'whole'
    words = [bag, other, '--model', model, '--segment-s', 0.2, '--score', SCORE, '--out']
    assert fleet(*words, whole) == 0
    ending_after[0] = 9  # run.json, the bags, four tables of the first segment, a part of the next
    assert fleet(*words, out) == 130
    assert [row['segment'] for row in table(out, 'segments')] == [0]
    ending_after[0] = 10**9
    assert fleet(*words, out) == 1, 'without --resume nothing is added'
    ending_after[0] = 7
    assert fleet(*words, out, '--resume') == 130
    ending_after[0] = 10**9
    assert fleet(*words, out, '--resume') == 0
    assert images_of(out) == images_of(whole)
    assert len(table(out, 'segments')) == len(table(whole, 'segments')) == 4


def test_other_options_do_not_mix(
    done: Path, drives: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [drives, '--out', done, '--model', model, '--segment-s', 0.2]
    assert fleet(*words, '--score', 0.7, '--resume') == 1
    assert 'its results are of another run: thresholds was' in capsys.readouterr().err


def test_a_failing_segment_is_a_row_and_ends_nothing(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bag = write_bag(tmp_path / 'bag', images=6)
    detect = Detector.each
    calls = [0]

    def failing(self: Detector, frames: Any) -> Any:
        calls[0] += 1
        if calls[0] == 6:  # of the second segment, behind the first two images
            raise RuntimeError('the device is gone')
        return detect(self, frames)

    monkeypatch.setattr(Detector, 'each', failing)
    words = [bag, '--out', tmp_path / 'out', '--model', model, '--segment-s', 0.2]
    assert fleet(*words) == 1
    rows = {row['segment']: row for row in table(tmp_path / 'out', 'segments')}
    assert [rows[i]['status'] for i in range(3)] == ['ok', 'failed', 'ok']
    assert rows[1]['reason'] == 'RuntimeError: the device is gone'
    stamps = {row['stamp_ns'] for row in table(tmp_path / 'out', 'images')}
    assert not {s for s in stamps if T0 + 2 * PERIOD_NS <= s < T0 + 4 * PERIOD_NS}
    assert fleet(*words, '--resume') == 0, 'what failed runs again'
    assert {row['status'] for row in table(tmp_path / 'out', 'segments')} == {'ok'}
    assert len(table(tmp_path / 'out', 'images')) == 12


def test_images_that_cannot_be_read_are_rows(tmp_path: Path, model: Path) -> None:
    bag = write_bag(tmp_path / 'bag', images=3, cameras=['front'], encodings=['jpeg'])
    (file,) = bag.glob('*.mcap')
    content = bytearray(file.read_bytes())
    second = content.find(b'\xff\xd8', content.find(b'\xff\xd8') + 2)
    content[second : second + 2] = b'\0\0'
    file.write_bytes(content)
    assert fleet(bag, '--out', tmp_path / 'out', '--model', model) == 0
    rows = sorted(table(tmp_path / 'out', 'images'), key=lambda row: row['stamp_ns'])
    assert [row['status'] == 'ok' for row in rows] == [True, False, True]
    assert rows[1]['reason'] and rows[1]['stamp_ns'] == T0 + PERIOD_NS
    (segment,) = table(tmp_path / 'out', 'segments')
    assert (segment['status'], segment['unread'], segment['images']) == ('partial', 1, 3)


def test_ground_truth_and_conditions_are_kept(tmp_path: Path, model: Path) -> None:
    write_bag(tmp_path / 'bag', images=2, truth=True)
    (tmp_path / 'all.csv').write_text('bag,weather\nbag,rain\n')
    assert fleet(tmp_path / 'all.csv', '--out', tmp_path / 'out', '--model', model) == 0
    rows = table(tmp_path / 'out', 'truth')
    assert len(rows) == 4
    assert rows[0]['objects'] == [
        {'class': 'car', 'x1': 10.0, 'y1': 20.0, 'x2': 60.0, 'y2': 90.0, 'counted': True,
         'distance_m': 7.0}
    ]  # fmt: skip
    (segment,) = table(tmp_path / 'out', 'segments')
    assert json.loads(segment['conditions']) == {'weather': 'rain'}


def test_the_vehicle_decides_as_the_node_does(tmp_path: Path, model: Path) -> None:
    bag = write_bag(tmp_path / 'bag', images=3)
    vehicle = tmp_path / 'v.param.yaml'
    vehicle.write_text(
        '/**:\n  ros__parameters:\n    camera_names: [front, rear]\n    lane_names: [cpu]\n'
        f'    model: {{path: {model}, score_threshold: {SCORE}}}\n'
        '    cameras:\n      front: {score_threshold: 0.8, crop: 96x64+8+16}\n'
        '      rear: {transport: compressed, ignore: ["rows 50%-"]}\n'
    )
    assert fleet(bag, '--out', tmp_path / 'out', '--vehicle', vehicle) == 0
    rows = table(tmp_path / 'out', 'detections')
    front = [row for row in rows if row['camera'] == 'front']
    rear = [row for row in rows if row['camera'] == 'rear']
    assert front and min(row['score'] for row in front) > 0.8
    assert rear and min(row['score'] for row in rear) < 0.8
    assert max((row['y1'] + row['y2']) / 2 for row in rear) < 60


def test_each_frame_of_several_has_an_answer(model: Path, drives: Path) -> None:
    with Bag(drives / 'bag0') as bag:
        messages = list(bag.messages(['/rear/image_raw/compressed']))
    frames = [new_reader('compressed')(m.cdr, Arrival('rear', 0, 0)) for m in messages]
    frames[1] = replace(frames[1], data=frames[1].data[: len(frames[1].data) // 2])
    with Detector(model) as detect:
        found = detect.each(frames)
        assert [isinstance(one, FrameError) for one in found] == [
            i == 1 for i in range(len(frames))
        ]
        assert found[2].score.tolist() == detect(frames[2]).score.tolist()
        assert detect.each([]) == []


def test_another_bag_is_added(tmp_path: Path, model: Path) -> None:
    """What was there stays, and what a power cut left of a segment's row is run again."""
    bags = [
        write_bag(tmp_path / name, images=2, cameras=['front'], encodings=['bgr8'])
        for name in ('one', 'other')
    ]
    out = tmp_path / 'out'
    assert fleet(bags[0], '--out', out, '--model', model) == 0
    assert fleet(bags[1], '--out', out, '--model', model, '--resume') == 0
    assert {row['bag'] for row in table(out, 'bags')} == set(map(str, bags))
    (file,) = (out / 'segments').rglob('one*.parquet')
    whole = file.read_bytes()
    for damage in (b'', whole[:20]):
        file.write_bytes(damage)
        assert fleet(*bags, '--out', out, '--model', model, '--resume') == 0
        assert len(table(out, 'segments')) == 2


def test_an_estimate_that_fails_ends_nothing(
    tmp_path: Path,
    model: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def failing(*_: object) -> float:
        raise BagError('its chunks are zeros')

    monkeypatch.setattr('yolox_trt_ros.tools.fleet.measured_rate', failing)
    bag = write_bag(tmp_path / 'bag', images=2)
    words = [bag, '--out', tmp_path / 'out', '--model', model]
    assert fleet(*words) == 0
    assert 'no estimate: its chunks are zeros' in capsys.readouterr().err
    shares = ['--plan', '--ray', 'auto', '--workers', 3, '--gpus-per-worker', 1]
    assert fleet(*words, *shares, '--segment-s', 0.1) == 0
    assert '2 workers; no estimate' in capsys.readouterr().err


def test_other_ranges_and_cameras_are_another_run(tmp_path: Path, model: Path) -> None:
    ranges = tmp_path / 'ranges.json'
    ranges.write_text('{}')
    cameras = {'camera_names': ['front'], 'lane_names': ['cpu']}
    config = Config.from_parameters(cameras)
    about = {'out': '', 'truth_labels': (), 'segment_s': 60.0, 'ranges': str(ranges)}
    job = job_of(ModelConfig(path=str(model)), config, **about)
    before = job.identity()
    assert differences(before, job.identity()) == []
    other = Config.from_parameters(cameras | {'cameras.front.topic': '/other'})
    assert differences(before, replace(job, config=other).identity())
    ranges.write_text('{ }')
    assert differences(before, job.identity())
