"""The command line of ``bench``, what its JSON says of the machine, and its runs on a GPU."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.support.identity import identity, lane_devices
from yolox_trt_ros.core.errors import MissingDependencyError
from yolox_trt_ros.vehicle_files import load_vehicle

pytest.importorskip('rich', reason='tools need rich')
from benchmarks import command


def parsed(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return parser.parse_args(words)


def test_the_output_file_stands_before_or_behind_the_name() -> None:
    assert parsed('--json', 'a.json', 'pipeline').json == Path('a.json')
    assert parsed('pipeline', '--json', 'b.json').json == Path('b.json')
    assert parsed('--json', 'a.json', 'pipeline', '--json', 'b.json').json == Path('b.json')
    assert parsed('pipeline').json == parsed().json


def run(tmp_path: Path, name: str, *words: str) -> dict[str, Any]:
    file = tmp_path / 'out' / 'bench.json'
    assert command.run(parsed(name, *words, '--json', str(file))) == 0
    written: dict[str, Any] = json.loads(file.read_text())
    assert written['machine'].keys() == identity().keys()
    return written[name]  # type: ignore[no-any-return]


def test_a_run_says_what_its_figures_belong_to(tmp_path: Path) -> None:
    words = ('--seconds', '0.2', '--rounds', '1', '--size', '64', '48')
    assert run(tmp_path, 'pipeline', *words)['ratio'] > 0
    found = identity()
    assert {'package', 'python', 'cores', 'processor', 'libraries'} <= set(found)
    assert {'numpy', 'onnxruntime'} <= set(found['libraries'])


def test_lanes_are_named_with_their_devices() -> None:
    lanes = load_vehicle('desktop_8cam').lanes
    message = lane_devices(load_vehicle('desktop_8cam'))
    assert len(message) == len(lanes)
    for lane, text in zip(lanes, message, strict=True):
        assert text.startswith(f'{lane.name}, {lane.backend}, {lane.device}')


GPU_RUNS = {
    'preprocess': ('--size', '320', '240', '--input', '96', '64', '--batch', '2'),
    'decode': ('--input', '320', '320', '--batch', '2'),
    'detector': ('--size', '640', '480', '--batches', '1', '3', '--seconds', '0.2'),
}


@pytest.mark.gpu
@pytest.mark.parametrize('name', GPU_RUNS)
def test_runs_on_a_gpu(name: str, tmp_path: Path) -> None:
    """Also with the packaged model, whose file says batch 1, in batches of another size."""
    try:
        result = run(tmp_path, name, *GPU_RUNS[name])
    except MissingDependencyError as error:
        pytest.skip(str(error))
    assert result['gpu'] in identity()['gpus']
    if name == 'detector':
        assert list(result['batches']) == ['1', '3']
