"""Tools whose readers go away, whose names are misspelt, and whose files are not UTF-8."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from tiny_models import write_yolox

from yolox_trt_ros.__main__ import main

pytestmark = pytest.mark.timeout(300)
CAMERAS = ('front', 'left', 'right', 'rear')
PLAN = 'tool plan --vehicle one.param.yaml --duration 2'


def shell(line: str, folder: Path) -> subprocess.CompletedProcess[bytes]:
    """Run a line of bash in which ``tool`` is this program."""
    tool = f'tool() {{ "{sys.executable}" -m yolox_trt_ros "$@"; }}'
    return subprocess.run(
        ['bash', '-c', f'{tool}; {line}'], cwd=folder, capture_output=True, timeout=250
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_yolox(tmp_path / 'm.onnx')
    (tmp_path / 'images').mkdir()
    pixels = np.random.default_rng(1).integers(0, 256, (60, 80, 3), np.uint8)
    for name in ('a.png', 'b.png'):
        cv2.imwrite(str(tmp_path / 'images' / name), pixels)
    lane = {'device': 'cuda:0', 'cost_ms': {1: 80.0}, 'slowdown': [1.0], 'jitter': 0.0}
    profile = {'name': 'slow', 'description': '-', 'lanes': {'gpu': lane}}
    (tmp_path / 'slow.yaml').write_text(yaml.safe_dump(profile))
    vehicle = {
        'camera_names': list(CAMERAS),
        'cameras': {name: {'rate_hz': 2.0} for name in CAMERAS},
        'lane_names': ['gpu'],
        'lanes': {'gpu': {'device': 'cuda:0'}},
        'profile': str(tmp_path / 'slow.yaml'),
    }
    content = {'/**': {'ros__parameters': vehicle}}
    (tmp_path / 'one.param.yaml').write_text(yaml.safe_dump(content))
    return tmp_path


def test_a_reader_that_goes_away_is_no_error_and_costs_no_file(folder: Path) -> None:
    done = shell(
        f'{PLAN} --json plan.json | true;'
        'echo ${PIPESTATUS[0]}; tool --help | true; echo ${PIPESTATUS[0]}',
        folder,
    )
    assert done.stdout.split() == [b'141', b'141'], done.stderr
    assert b'Traceback' not in done.stderr and b'Broken pipe' not in done.stderr
    assert json.loads((folder / 'plan.json').read_text())


def test_a_misspelt_tool_gets_its_neighbour(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(['evalute']) == 2
    assert 'there is no tool "evalute" — did you mean "evaluate"?' in capsys.readouterr().err


def test_detect_takes_names_that_are_not_utf8_and_goes_on_after_a_bad_file(folder: Path) -> None:
    images = folder / 'images'
    os.rename(images / 'a.png', os.fsencode(images) + b'/a\xff.png')
    (images / 'huge.png').write_bytes(
        b'\x89PNG\r\n\x1a\n\0\0\0\rIHDR' + (40_000).to_bytes(4, 'big') * 2 + b'\x08\x02\0\0\0'
    )
    done = shell('tool detect --model m.onnx --images images --json out.json', folder)
    assert done.returncode == 1 and b'Traceback' not in done.stderr
    assert b'images/huge.png: ' in done.stderr
    found = json.loads((folder / 'out.json').read_text())['images']
    assert list(found) == ['a\\xff.png', 'b.png']
    assert shell('tool detect --model m.onnx --images images', folder).stdout


def test_detect_does_not_draw_over_the_photographs(folder: Path) -> None:
    (folder / 'link').symlink_to('images')
    before = (folder / 'images' / 'a.png').read_bytes()
    for draw in ('images', 'images/../link'):
        done = shell(f'tool detect --model m.onnx --images images --draw {draw}', folder)
        assert done.returncode == 1 and b'would overwrite images/a.png' in done.stderr
    assert (folder / 'images' / 'a.png').read_bytes() == before


def test_a_full_disk_is_named(folder: Path) -> None:
    done = shell('tool detect --model m.onnx --images images --json /dev/full', folder)
    assert done.returncode == 1
    assert b'/dev/full: cannot be written: No space left' in done.stderr


def test_output_that_cannot_be_written_is_reported_in_a_sentence(folder: Path) -> None:
    done = shell('tool parameters > /dev/full; echo $?', folder)
    assert done.stdout == b'1\n'
    assert done.stderr == b'yolox_trt_ros: standard output: No space left on device\n'


def test_a_closed_output_is_never_that_of_a_file(folder: Path) -> None:
    done = shell(f'{PLAN} --json plan.json >&- 2>&- <&-; echo $?', folder)
    assert done.stdout == b'0\n'
    assert json.loads((folder / 'plan.json').read_text())


def test_a_misspelt_option_gets_its_neighbour(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(['plan', '--vehicle', 'orin_8cam', '--profle=x'])
    assert ended.value.code == 2
    message = capsys.readouterr().err
    assert 'usage: yolox_trt_ros plan' in message
    assert 'there is no argument "--profle=x" — did you mean "--profile"?' in message


@pytest.mark.parametrize(
    ('line', 'values'),
    [
        ('plan --vehicle orin_8cam --duration', ['nan', 'inf', '-1', '1e400', '9' * 400, 'x', '']),
        ('replay bag --rate', ['nan', '-1']),
        ('replay bag --start', ['nan', '-1']),
        ('replay bag --timeout', ['nan', '-1']),
        ('record --vehicle orin_8cam --keep-free-mb', ['nan', '-1']),
        ('report --live', ['nan', '-1']),
        ('evaluate --live', ['nan', '-1']),
        ('evaluate --world val --min-height', ['nan', '-1']),
        ('evaluate --world val --worlds', ['nan', '-1']),
        ('profile --vehicle orin_8cam --out p.yaml --runs', ['nan', '-1']),
    ],
)
def test_a_number_that_is_none_is_wrong_usage(
    line: str, values: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    *before, option = line.split()
    for value in values:
        with pytest.raises(SystemExit) as ended:
            main([*before, f'{option}={value}'])
        assert ended.value.code == 2
        assert f'error: argument {option}: ' in capsys.readouterr().err


def test_a_full_disk_leaves_no_half_chart(folder: Path) -> None:
    if subprocess.run(['unshare', '-m', 'true'], capture_output=True).returncode:
        pytest.skip('no small disk can be mounted here')
    (folder / 'disk').mkdir()
    line = f'{PLAN} --gantt disk/g.svg'
    full = 'mount -t tmpfs -o size=8k tmpfs disk && head -c 4096 /dev/zero > disk/rest'
    tool = f'"{sys.executable}" -m yolox_trt_ros'
    script = f'{full} && {line.replace("tool", tool, 1)}; echo $?; ls disk'
    done = subprocess.run(
        ['unshare', '-m', 'bash', '-c', script], cwd=folder, capture_output=True, text=True
    )
    assert done.stdout.splitlines()[-2:] == ['1', 'rest']
    assert 'disk/g.svg: cannot be written: No space left' in done.stderr
