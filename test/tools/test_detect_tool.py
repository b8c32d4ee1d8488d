"""The command line, as users call it."""

import json
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from matching import differences
from tiny_models import LABELS, write_yolox

from yolox_trt_ros import tools
from yolox_trt_ros.__main__ import main
from yolox_trt_ros.tools.detect import read_file


def command(*args: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, '-m', 'yolox_trt_ros', *map(str, args)],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


@pytest.mark.parametrize('kind', ['class_aware', 'class_agnostic'])
def test_finds_what_the_reference_finds(real: Path, tmp_path: Path, kind: str) -> None:
    options = ['--class-agnostic'] if kind == 'class_agnostic' else []
    done = command(
        'detect',
        '--model',
        real / 'yolox_nano_coco.onnx',
        '--labels',
        real / 'coco_classes.txt',
        '--images',
        real / 'images',
        '--score',
        0.3,
        '--nms-iou',
        0.45,
        '--json',
        tmp_path / 'out.json',
        *options,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / 'out.json').read_text())['images']
    reference = json.loads((real / 'reference_detections.json').read_text())['images']
    assert found.keys() == reference.keys()
    problems = []
    for name, image in reference.items():
        assert (found[name]['height'], found[name]['width']) == (image['height'], image['width'])
        problems += [f'{name} {p}' for p in differences(found[name]['detections'], image[kind])]
    assert not problems
    assert sum(len(image[kind]) for image in reference.values()) > 100


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with a model, its labels and two images."""
    write_yolox(tmp_path / 'm.onnx')
    images = tmp_path / 'images'
    images.mkdir()
    for seed, name in enumerate(('a.png', 'b.jpg')):
        pixels = np.random.default_rng(seed).integers(0, 256, (90, 120, 3), np.uint8)
        cv2.imwrite(str(images / name), pixels)
    return tmp_path


def test_a_photograph_is_taken_as_it_is_stored(folder: Path) -> None:
    # Orientation 6 (turn right) in its EXIF data, which the node ignores in a camera's stream.
    exif = bytes.fromhex('457869660000 4d4d002a00000008 0001 0112 0003 00000001 00060000 00000000')
    file = folder / 'images' / 'b.jpg'
    data = file.read_bytes()
    file.write_bytes(data[:2] + b'\xff\xe1' + (len(exif) + 2).to_bytes(2, 'big') + exif + data[2:])
    assert cv2.imread(str(file)).shape == (120, 90, 3), 'the tag is not read at all'
    assert read_file(file).shape == (90, 120, 3)


def test_output(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    arguments = ['detect', '--model', f'{folder}/m.onnx', '--images', f'{folder}/images']
    assert main([*arguments, '--draw', f'{folder}/drawn', '--json', f'{folder}/new/out.json']) == 0
    written = json.loads((folder / 'new' / 'out.json').read_text())
    assert list(written['images']) == ['a.png', 'b.jpg']
    assert tuple(written['labels']) == LABELS
    image = written['images']['a.png']
    assert (image['height'], image['width']) == (90, 120)
    assert all(len(row) == 6 and row[4] > 0.3 and row[5] in range(3) for row in image['detections'])
    drawn = cv2.imread(str(folder / 'drawn' / 'a.png'))
    assert drawn.shape == (90, 120, 3)
    assert (drawn != cv2.imread(str(folder / 'images' / 'a.png'))).any()

    capfd.readouterr()
    assert main(arguments) == 0
    assert json.loads(capfd.readouterr().out) == written


def test_one_image_that_cannot_be_read_does_not_stop_the_others(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (folder / 'images' / 'aa.jpg').write_bytes(b'no image')
    picture = np.random.default_rng(0).integers(0, 256, (90, 120, 3), np.uint8)
    jpeg = cv2.imencode('.jpg', picture)[1].tobytes()
    (folder / 'images' / 'cut.jpg').write_bytes(jpeg[:-500])
    arguments = ['detect', '--model', f'{folder}/m.onnx', '--images', f'{folder}/images']
    assert main([*arguments, '--json', f'{folder}/out.json']) == 1
    message = capfd.readouterr().err
    assert 'aa.jpg: not an image' in message
    assert 'cut.jpg: JPEG of' in message and 'no end marker: truncated' in message
    assert len(json.loads((folder / 'out.json').read_text())['images']) == 2


ERRORS = {
    'missing model': (['--model', '{}/x.onnx', '--images', '{}/images'], 'x.onnx does not exist'),
    'no model': (['--model', 'no_such', '--images', '{}/images'], 'model.path: expected'),
    'not a model': (['--model', '{}/labels.txt', '--images', '{}/images'], 'expected an ONNX'),
    'no images': (['--model', '{}/m.onnx', '--images', '{}/nowhere'], '--images: expected'),
    'score': (['--model', '{}/m.onnx', '--images', '{}/images', '--score', '3'], '0 to 1, got 3'),
    'device': (
        ['--model', '{}/m.onnx', '--images', '{}/images', '--device', 'dla:7'],
        'backend: a dla lane needs one of tensorrt',
    ),
    'output that cannot be written': (
        ['--model', '{}/m.onnx', '--images', '{}/images', '--json', '{}/m.onnx/out.json'],
        "File exists: '{}/m.onnx'",
    ),
}


@pytest.mark.parametrize(('arguments', 'message'), ERRORS.values(), ids=ERRORS)
def test_error(
    folder: Path, arguments: list[str], message: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(['detect', *(a.format(folder) for a in arguments)]) == 1
    assert message.format(folder) in capfd.readouterr().err


@pytest.mark.parametrize('how', [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_ends_it_without_a_traceback(folder: Path, how: signal.Signals) -> None:
    slow = write_yolox(folder / 'slow.onnx', ballast=20)
    for i in range(200):
        shutil.copy(folder / 'images' / 'b.jpg', folder / 'images' / f'{i}.jpg')
    arguments = ['detect', '--model', slow, '--images', folder / 'images', '--draw', folder / 'd']
    process = subprocess.Popen(
        [sys.executable, '-m', 'yolox_trt_ros', *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    while process.poll() is None and not list(folder.glob('d/*')):
        time.sleep(0.05)
    process.send_signal(how)
    _, message = process.communicate(timeout=60)
    assert process.returncode == 130, message
    assert 'interrupted' in message and 'Traceback' not in message


def test_help_lists_every_tool() -> None:
    done = command('--help')
    assert done.returncode == 0
    assert 'detect' in tools.names()
    for name in tools.names():
        assert re.search(rf'^ +{name}\b', done.stdout, re.MULTILINE)
        assert tools.summary(name)


@pytest.mark.parametrize('name', tools.names())
def test_every_tool_explains_itself(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as done:
        main([name, '--help'])
    assert done.value.code == 0
    assert tools.summary(name) in capfd.readouterr().out


HIDING = """
import sys
class Hidden:
    def find_spec(name, *_):
        if name == sys.argv[1]:
            raise ModuleNotFoundError(name, name=name)
sys.meta_path.insert(0, Hidden)
from yolox_trt_ros.__main__ import main
sys.exit(main(sys.argv[2:]))
"""


@pytest.mark.parametrize(('missing', 'tool'), [('rclpy', 'record'), ('yolox_trt_ros.msg', 'demo')])
def test_a_tool_without_what_it_needs_says_how_to_get_it(missing: str, tool: str) -> None:
    command = [sys.executable, '-c', HIDING, missing, tool]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert done.returncode == 1
    assert f'yolox_trt_ros {tool}: it needs {missing}: ' in done.stderr
    assert 'make setup' in done.stderr


def test_help_of_a_tool_says_what_the_tool_lacks() -> None:
    command = [sys.executable, '-c', HIDING, 'rich', 'replay', '--help']
    done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert (done.returncode, done.stderr) == (0, '')
    assert tools.summary('replay') in done.stdout
    assert 'to see its options: it needs rich: pip install rich' in done.stdout


@pytest.mark.parametrize('arguments', [[], ['detekt'], ['detect', '--no-such-option']])
def test_wrong_usage(arguments: list[str]) -> None:
    try:
        code = main(arguments)
    except SystemExit as done:
        code = done.code
    assert code == 2
