"""The command line of ``bench``, what its JSON says of the machine, and its runs on a GPU."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import pytest
from tiny_models import write_yolox

from benchmarks.support.identity import identity, lane_devices
from yolox_trt_ros.core.errors import MissingDependencyError
from yolox_trt_ros.vehicle_files import load_vehicle

pytest.importorskip('rich', reason='tools need rich')
from benchmarks import command, lanes


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
    words = ('--seconds', '1', '--rounds', '1', '--size', '64', '48')
    assert run(tmp_path, 'pipeline', *words)['ratio'] > 0
    found = identity()
    assert {'package', 'python', 'cores', 'processor', 'libraries'} <= set(found)
    assert {'numpy', 'onnxruntime'} <= set(found['libraries'])


def test_lanes_are_named_with_their_devices() -> None:
    known = load_vehicle('desktop_8cam').lanes
    message = lane_devices(load_vehicle('desktop_8cam'))
    assert len(message) == len(known)
    for lane, text in zip(known, message, strict=True):
        assert text.startswith(f'{lane.name}, {lane.backend}, {lane.device}')


def test_lanes_take_what_is_offered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lanes, 'SETTLE_S', 0.2)
    picture, model = tmp_path / 'lanes.svg', write_yolox(tmp_path / 'tiny.onnx')
    words = ('--vehicle', 'laptop_8cam', '--model', str(model), '--size', '64', '48')
    words += ('--streams', '8', '--offered', '0.1', '4', '--seconds', '0.5')
    result = run(tmp_path, 'lanes', *words, '--picture', str(picture))
    calm, flooded = result['runs']
    assert calm['offered_per_s'] < flooded['offered_per_s'] and calm['p99_ms'] > 0
    for one in result['runs']:
        assert one['per_s'] > 0 and sum(one['batch_sizes'].values()) == pytest.approx(1, abs=0.01)
    assert picture.read_text().count('<polyline') > 4


GPU_RUNS = {
    'preprocess': ('--size', '320', '240', '--input', '96', '64', '--batch', '2'),
    'decode': ('--input', '320', '320', '--batch', '2'),
    'detector': ('--size', '640', '480', '--batches', '1', '3', '--seconds', '0.2'),
    'inference': ('--model', 'edge_n', '--batches', '2', '--only', 'fp32', 'pytorch'),
    'lanes': (
        '--model', 'edge_n', '--size', '640', '480', '--streams', '4', '--offered', '0.5', '2',
        '--gpus', '1', '--seconds', '0.3', '--picture', '{folder}/lanes.svg',
    ),
}  # fmt: skip


@pytest.mark.gpu
@pytest.mark.parametrize('name', GPU_RUNS)
def test_runs_on_a_gpu(name: str, tmp_path: Path) -> None:
    """Also with the packaged model, whose file says batch 1, in batches of another size."""
    try:
        words = [word.format(folder=tmp_path) for word in GPU_RUNS[name]]
        result = run(tmp_path, name, *words)
    except MissingDependencyError as error:
        pytest.skip(str(error))
    assert (result.get('gpu') or result['gpus'][0]) in identity()['gpus']
    if name == 'detector':
        assert list(result['batches']) == ['1', '3']
