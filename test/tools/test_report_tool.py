"""The tools around results: record, report and evaluate, on a drive whose numbers are known."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from drive import BOX, CAMERAS, RESULTS, SECOND, T0, drive, found, truth, write_bag
from tiny_models import write_yolox

from yolox_trt_ros.__main__ import main
from yolox_trt_ros.bags.reader import Bag
from yolox_trt_ros.core.errors import ConfigError
from yolox_trt_ros.evaluation.judge import Judge
from yolox_trt_ros.vehicle_files import load_vehicle


@pytest.fixture(scope='session')
def bag(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bag(tmp_path_factory.mktemp('bags') / 'drive', drive())


@pytest.fixture(scope='session')
def vehicle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    parameters = {
        'camera_names': list(CAMERAS),
        'lane_names': ['cpu'],
        'cameras': {name: {'deadline_ms': 50.0} for name in CAMERAS},
    }
    file = tmp_path_factory.mktemp('vehicle') / 'two.param.yaml'
    file.write_text(yaml.safe_dump({'/**': {'ros__parameters': parameters}}))
    return file


def test_report_of_a_bag(bag: Path, vehicle: Path, tmp_path: Path, capsys) -> None:
    out = tmp_path / 'new' / 'drive.html'
    assert main(['report', str(bag), '--vehicle', str(vehicle), '--out', str(out)]) == 0
    page, message = out.read_text(), ' '.join(capsys.readouterr().out.split())
    assert out.with_suffix('.png').read_bytes().startswith(b'\x89PNG')
    assert page.count('data:image/jpeg;base64,') == 2, 'a sample of each camera'
    assert 'rear 306 ms (limit 50, deadline_ms)' in message and 'Lane gpu failed once' in message
    assert '75% of 80 labelled objects in 80 images were found' in message
    assert f'report {out}, picture' in message


def test_report_finds_the_cameras_without_a_vehicle(bag: Path, tmp_path: Path, capsys) -> None:
    assert main(['report', str(bag), '--out', str(tmp_path / 'r.html')]) == 0
    message = ' '.join(capsys.readouterr().out.split())
    assert 'rear 306 ms (limit 200, limits.latency_warn_ms)' in message


def test_what_is_lost_of_a_bag_stands_in_the_report(bag: Path, tmp_path: Path, capsys) -> None:
    cut = tmp_path / 'cut.mcap'
    content = (bag / f'{bag.name}.mcap').read_bytes()
    cut.write_bytes(content[: len(content) - 5000])
    assert main(['report', str(cut), '--out', str(tmp_path / 'r.html')]) == 0
    page = (tmp_path / 'r.html').read_text()
    message = ' '.join(capsys.readouterr().out.split())
    for text in (page, message):
        assert 'has no end: the recording was interrupted, or the file is cut off' in text


def test_a_limit_that_is_none_is_refused(bag: Path, capsys) -> None:
    with pytest.raises(SystemExit):
        main(['report', str(bag), '--bag-memory', '-1'])
    assert '--bag-memory: expected a number above 0' in capsys.readouterr().err


def test_images_may_be_in_another_bag(vehicle: Path, tmp_path: Path) -> None:
    images = [m for m in drive() if m[1].endswith('image_raw')]
    results = [m for m in drive() if not m[1].endswith('image_raw')]
    parts = [write_bag(tmp_path / n, m) for n, m in (('images', images), ('results', results))]
    out = tmp_path / 'r.html'
    assert main(['report', str(parts[1]), '--images', str(parts[0]), '--out', str(out)]) == 0
    assert out.read_text().count('data:image/jpeg;base64,') == 2


def test_a_bag_without_results_lists_its_topics(tmp_path: Path, capsys) -> None:
    images = write_bag(tmp_path / 'images', [m for m in drive() if m[1].endswith('image_raw')])
    assert main(['report', str(images), '--out', str(tmp_path / 'r.html')]) == 1
    message = capsys.readouterr().err
    assert 'has no results' in message and '/front/image_raw (sensor_msgs/msg/Image)' in message


def test_the_cameras_of_another_vehicle_are_reported(bag: Path, tmp_path: Path, capsys) -> None:
    other = tmp_path / 'other.yaml'
    names = {'camera_names': ['left', 'right'], 'lane_names': ['cpu0']}
    other.write_text(yaml.safe_dump({'/**': {'ros__parameters': names}}))
    page = tmp_path / 'page.html'
    assert main(['report', str(bag), '--vehicle', str(other), '--out', str(page)]) == 1
    message = capsys.readouterr().err
    assert 'no results of a camera of the vehicle (left, right)' in message
    assert 'but of front, rear: give the vehicle file' in message


def test_two_detectors_have_to_be_chosen_from(tmp_path: Path, capsys) -> None:
    messages = [m for m in drive() if m[1].endswith('latency')]
    messages += [(t, topic.replace('/detector', '/other'), m) for t, topic, m in messages]
    both = write_bag(tmp_path / 'both', messages)
    assert main(['report', str(both), '--out', str(tmp_path / 'r.html')]) == 1
    assert 'results of /detector, /other: choose with --detector' in capsys.readouterr().err
    chosen = ['--detector', '/other', '--out', str(tmp_path / 'r.html')]
    assert main(['report', str(both), *chosen]) == 0


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['report', 'x', '--out', 'page.pdf'], 'ends in .html'),
        (['report', '--live', '5'], 'need --vehicle'),
        (['report', 'nowhere'], 'there is no such bag'),
        (['record', '--vehicle', 'laptop_8cam', '--duration', '0'], 'expected more than 0 s'),
        (['record', '--vehicle', 'laptop_8cam', '--output', '.'], 'exists already'),
        (['record', '--vehicle', 'laptop_8cam', '--keep-free-mb', '1e12'], 'disk space are left'),
        (['evaluate', '--live', '5'], '--live needs --vehicle'),
    ],
)
def test_wrong_arguments_are_reported(arguments, message, capsys, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 1
    assert message in capsys.readouterr().err
    assert not [path for path in tmp_path.iterdir() if path.suffix != '.html']


def evaluated(tmp_path: Path, bag: Path, *arguments: str) -> dict:
    file = tmp_path / 'figures.json'
    assert main(['evaluate', '--bag', str(bag), '--json', str(file), *arguments]) == 0
    return json.loads(file.read_text())


def test_evaluation_of_a_bag(bag: Path, tmp_path: Path, capsys) -> None:
    report = evaluated(tmp_path, bag)
    assert report['images'] == 2 * RESULTS
    assert report['cameras']['front'] == {
        'images': RESULTS, 'labelled': RESULTS, 'recall': 1.0, 'precision': 1.0,
    }  # fmt: skip
    assert report['cameras']['rear']['recall'] == 0.5
    by_distance = {row['from_m']: row for row in report['by_distance']}
    assert by_distance[0.0]['recall'] == 1.0 and by_distance[20.0]['recall'] == 0.5
    assert by_distance[10.0] == {'from_m': 10.0, 'to_m': 20.0, 'labelled': 0, 'recall': None}
    # Right ones score 0.9, wrong ones 0.8: the precision is 1 up to the recall of 0.75.
    assert report['map50'] == pytest.approx(0.75, abs=0.01)
    assert '20 to 30 m' in capsys.readouterr().out


def test_coco_labels_in_place_of_topics(bag: Path, tmp_path: Path) -> None:
    images, annotations = [], []
    for i in range(RESULTS):
        images.append({'id': i, 'file_name': f'rear/{T0 + i * SECOND // 10}.jpg'})
        x0, y0, x1, y1 = BOX
        bbox, far = [x0, y0, x1 - x0, y1 - y0], 60.0
        annotations.append({'image_id': i, 'category_id': 7, 'bbox': bbox, 'distance_m': far})
    categories = [{'id': 7, 'name': 'car'}]
    file = tmp_path / 'labels.json'
    content = {'images': images, 'annotations': annotations, 'categories': categories}
    file.write_text(json.dumps(content))
    report = evaluated(tmp_path, bag, '--truth', str(file))
    assert list(report['cameras']) == ['rear'] and report['cameras']['rear']['recall'] == 0.5
    assert [r['labelled'] for r in report['by_distance'] if r['from_m'] == 50.0] == [RESULTS]


def test_coco_labels_of_no_camera_are_refused(bag: Path, tmp_path: Path, capsys) -> None:
    file = tmp_path / 'labels.json'
    content = {'images': [{'id': 1, 'file_name': 'a.jpg'}], 'annotations': [], 'categories': []}
    file.write_text(json.dumps(content))
    assert main(['evaluate', '--bag', str(bag), '--truth', str(file)]) == 1
    assert 'CAMERA/STAMP_NS.jpg' in capsys.readouterr().err


def test_what_cannot_be_compared_is_reported() -> None:
    judge = Judge(['car'], ['car'])
    judge.add_found('front', found('front', 1))
    with pytest.raises(ConfigError, match='no ground truth'):
        judge.report()
    judge.add_truth('front', truth('front', 2, 5.0))
    with pytest.raises(ConfigError, match='no two of one camera have the same header stamp'):
        judge.report()
    judge.add_truth('front', truth('front', 1, 5.0))
    judge.add_truth('front', truth('front', 1, 9.0))
    with pytest.raises(ConfigError, match='front: 2 messages share 1 header stamp and are left'):
        judge.report()
    with pytest.raises(ConfigError, match='none of these is labelled'):
        Judge(['cat'], ['car']).report()


@pytest.mark.ros
def test_record_report_and_evaluate_live(vehicle: Path, tmp_path: Path, live_detector) -> None:
    """A recording that Ctrl-C ends holds the very bytes that were published."""
    output, page, figures = (tmp_path / name for name in ('recorded', 'live.html', 'live.json'))
    tools = {
        'record': ['--output', output, '--images'],
        'report': ['--live', '3', '--out', page],
        'evaluate': ['--live', '3', '--json', figures],
    }
    running = {}
    for tool, options in tools.items():
        command = [sys.executable, '-m', 'yolox_trt_ros', tool, '--vehicle', vehicle, *options]
        running[tool] = subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, env=live_detector.env
        )
    try:
        ending = [running['report'], running['evaluate']]
        live_detector.publish_until(lambda: all(p.poll() is not None for p in ending))
        running['record'].send_signal(signal.SIGINT)
        messages = {tool: process.communicate(timeout=30)[0] for tool, process in running.items()}
    finally:
        for process in running.values():
            process.kill()
    assert {tool: p.returncode for tool, p in running.items()} == dict.fromkeys(tools, 0), messages
    with Bag(output) as recorded:
        sent = live_detector.sent
        for topic in (f'/detector/{c}/{k}' for c in CAMERAS for k in ('latency', 'detections')):
            bytes_of = [m.cdr for m in recorded.messages([topic])]
            # The middleware fills a message up to a multiple of four bytes.
            filled = {data + bytes(-len(data) % 4) for data in sent[topic]}
            assert len(bytes_of) > 10 and set(bytes_of) <= filled | sent[topic]
        assert recorded.topics['/detector/status'].count >= 2
        assert recorded.topics['/front/image_raw'].count > 10
        assert recorded.topics['/detector/label_info'].count == 1
    assert page.read_text().count('data:image/jpeg;base64,') == 2
    assert 'Every camera gave results: 2 of them.' in ' '.join(messages['report'].split())
    cameras = json.loads(figures.read_text())['cameras']
    assert cameras['front']['recall'] == 1.0 and cameras['rear']['recall'] == pytest.approx(
        0.5, abs=0.1
    )


@pytest.mark.ros
def test_a_foreign_bag_and_an_own_model_become_a_report(bag: Path, tmp_path: Path, capsys) -> None:
    """The two commands of the README, with a model of random weights."""
    model = write_yolox(tmp_path / 'mine.onnx')
    assert main(['parameters', '--from-bag', str(bag), '--model', str(model)]) == 0
    vehicle, page = tmp_path / 'car.param.yaml', tmp_path / 'r.html'
    vehicle.write_text(capsys.readouterr().out)
    command = [sys.executable, '-m', 'yolox_trt_ros', 'report', '--replay', bag]
    command += ['--vehicle', vehicle, '--out', page]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    message = ' '.join(done.stdout.split())
    assert 'Every camera gave results: 2 of them.' in message
    assert 'clock differ' not in message, 'ages are in the time of the recording'
    assert page.read_text().count('data:image/jpeg;base64,') == 2
    images = write_bag(tmp_path / 'other', [m for m in drive() if 'image_raw' not in m[1]])
    assert main(['report', '--replay', str(images), '--vehicle', str(vehicle)]) == 1
    assert 'expected images on one of /front/image_raw, /rear/image_raw' in capsys.readouterr().err


@pytest.mark.ros
def test_a_full_disk_is_reported(vehicle: Path, tmp_path: Path, live_detector) -> None:
    """The limit on the size of a file is the system's own, and comes as the same error."""
    output = tmp_path / 'recorded'
    command = f'ulimit -f 64; exec {sys.executable} -m yolox_trt_ros record --images'
    command += f' --vehicle {vehicle} --output {output}'
    with subprocess.Popen(
        ['bash', '-c', command], stderr=subprocess.PIPE, text=True, env=live_detector.env
    ) as process:
        live_detector.publish_until(lambda: process.poll() is not None)
        message = process.communicate()[1]
    assert process.returncode == 1
    assert 'File too large' in message and str(output) in message and 'Traceback' not in message


@pytest.mark.ros
def test_an_error_in_a_callback_is_not_lost(monkeypatch) -> None:
    """What a callback does not count itself is reported when the listening ends."""
    from yolox_trt_ros.evaluation.observer import Observer

    monkeypatch.setenv('ROS_DOMAIN_ID', str(1 + os.getpid() % 100))
    results = Observer(load_vehicle('laptop_8cam'), ['car'])

    def take(_: object) -> None:
        raise ConfigError('not as expected')

    with pytest.raises(ConfigError, match='not as expected'), results:
        results._results.add('detections', take, 'x')
        results.executor.wake()
        message = found('x', T0, (BOX, 0.9, 1))
        publisher = results.node.create_publisher(type(message), '/detector/x/detections', 10)
        end = time.monotonic() + 30
        while results._error is None and time.monotonic() < end:
            publisher.publish(message)
            time.sleep(0.05)
