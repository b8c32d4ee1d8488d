"""Runs on a CPU: they learn, go on after a kill, and are the same on two ranks as on one."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip('torch', reason='pip install torch')
pytest.importorskip('tensorboardX', reason='pip install tensorboardX')

from shapes import write_shapes  # noqa: E402
from tiny_run import GENTLE, settings, trainer, weights  # noqa: E402

from yolox_trt_ros.core.errors import ConfigError  # noqa: E402
from yolox_trt_ros.training.runs.history import peaks, read_history  # noqa: E402

pytestmark = pytest.mark.timeout(400)
PROGRAM = [str(Path(__file__).parent / 'tiny_run.py')]
TORCHRUN = ['-m', 'torch.distributed.run', '--standalone', '--nproc_per_node=2']


@pytest.fixture(scope='module')
def labels(tmp_path_factory) -> Path:
    return write_shapes(tmp_path_factory.mktemp('shapes') / 'data')


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def program(*arguments: str, several: bool = False) -> list[str]:
    return [sys.executable, *(TORCHRUN if several else []), *PROGRAM, *arguments]


def environment() -> dict[str, str]:
    here = [str(Path(__file__).parent), os.environ.get('PYTHONPATH', '')]
    return {**os.environ, 'PYTHONPATH': os.pathsep.join(here), 'OMP_NUM_THREADS': '1'}


def test_a_run_learns_and_writes_its_history(tmp_path, labels):
    wanted = settings(epochs=10, every=5, augmentation=GENTLE, rate=1e-2)
    run = trainer(tmp_path / 'run', labels, wanted)
    place = run.run()
    history = read_history(tmp_path / 'run')
    # The L1 loss comes in addition near the end.
    losses = {e['step']: e['total'] - e['l1'] for e in history if e['kind'] == 'train'}
    assert place.step == 40 and losses[40] < 0.85 * losses[1]
    first = history[0]
    assert {'iou', 'obj', 'cls', 'rate', 'images_s', 'largest_gradients'} < set(first)
    assert [e['step'] for e in history if e['kind'] == 'val'] == [20, 40]
    assert set(peaks(history)) == {'mAP50', 'mAP50-95', 'square', 'disc'}
    assert (tmp_path / 'run' / 'best.pt').is_file()
    assert list((tmp_path / 'run' / 'tensorboard').iterdir())


def test_a_run_that_does_not_get_better_ends(tmp_path, labels):
    run = trainer(tmp_path / 'run', labels, settings(epochs=50, every=1, patience=2, rate=1e-9))
    assert run.run().step <= 3 * 4


def test_a_run_that_was_killed_goes_on_as_it_would_have(tmp_path, labels):
    folder = tmp_path / 'killed'
    command = program(str(labels), str(folder), 'own')
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment()) as child:
        last = int(np.random.default_rng().integers(2, 7))
        for line in child.stdout:
            if line.split() == ['step', str(last)]:
                child.kill()
                break
    assert child.wait() == -9
    again = trainer(folder, labels, settings(), resume=True)
    assert last <= again.place.step < 8
    again.run()
    whole = trainer(tmp_path / 'whole', labels, settings())
    whole.run()
    assert np.array_equal(weights(again), weights(whole))
    curves = [
        {e['step']: e['total'] for e in read_history(f) if e['kind'] == 'train'}
        for f in (folder, tmp_path / 'whole')
    ]
    assert curves[0][8] == curves[1][8]


def test_two_ranks_learn_what_one_does(tmp_path, labels):
    """Of the same total batch; with frozen batch norms nothing else is between them."""
    command = program(str(labels), str(tmp_path / 'two'), 'frozen', several=True)
    done = subprocess.run(command, capture_output=True, text=True, env=environment(), timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    alone = trainer(tmp_path / 'one', labels, settings(batch_norm='frozen', augmentation=GENTLE))
    two = np.load(tmp_path / 'two' / 'weights.npy')
    alone.run()
    begin = trainer(tmp_path / 'begin', labels, settings(batch_norm='frozen'))
    moved = np.abs(weights(alone) - weights(begin)).mean()
    assert np.abs(two - weights(alone)).mean() < 0.02 * moved
    curves = [read_history(tmp_path / name) for name in ('two', 'one')]
    for a, b in zip(*curves, strict=True):
        if a['kind'] == 'train' and a['step'] == 1:
            assert a['largest_gradients'] == pytest.approx(b['largest_gradients'], rel=1e-3)


def test_what_cannot_be_resumed_is_reported(tmp_path, labels):
    with pytest.raises(ConfigError, match='--resume: expected'):
        trainer(tmp_path / 'none', labels, settings(), resume=True)
