"""The training extra: losses, augmentation, steps and design, where PyTorch is installed."""

import os
import signal
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip('torch', reason='pip install -r training/requirements.txt')
pytest.importorskip('yolox', reason='pip install -r training/requirements.txt')

from yolox.models.yolo_head import YoloxHead  # noqa: E402

from training.assign import Assigner, AssignmentPool  # noqa: E402
from training.data import CHANCES, HEIGHT, SLOTS, WIDTH, Pictures, augment  # noqa: E402
from training.step import Step  # noqa: E402
from training.train import WARMUP_STEPS, Order, rate  # noqa: E402
from yolox_trt_ros.training.learning.loss import YoloxLoss  # noqa: E402
from yolox_trt_ros.training.networks.edge import EDGE_N, EdgeYolox, Pool  # noqa: E402
from yolox_trt_ros.training.networks.maps import STRIDES, decode, gflops  # noqa: E402

SIZE = (EDGE_N.height, EDGE_N.width)
LOSSES = ('total', 'iou', 'obj', 'cls', 'l1')
ONE, NONE = torch.ones(()), torch.zeros(())


def random_labels(rng: np.random.Generator, pictures: int) -> torch.Tensor:
    rows = np.full((pictures, SLOTS, 6), -1, np.float32)
    for picture in range(pictures):
        n = int(rng.integers(0, 12))
        corner = rng.uniform(0, 1, (n, 2)) * (SIZE[1] - 90, SIZE[0] - 90)
        corner[1::2] = corner[: n // 2 * 2 : 2] + 6  # in pairs, which want the same anchors
        rows[picture, :n, 0] = rng.integers(0, 6, n)
        rows[picture, :n, 1:3] = corner
        rows[picture, :n, 3:5] = corner + rng.uniform(6, 80, (n, 2))
        rows[picture, :n, 5] = 0
    return torch.from_numpy(rows)


def random_maps(pictures: int) -> list[tuple[torch.Tensor, ...]]:
    """Return raw maps whose boxes are about as large as the labels, so that many overlap."""
    maps = []
    for s in STRIDES:
        reg, obj, cls = (torch.randn(pictures, c, SIZE[0] // s, SIZE[1] // s) for c in (4, 1, 6))
        reg[:, 2:] = np.log(40 / s) + 0.4 * reg[:, 2:]
        maps.append((reg, obj, cls))
    return maps


def raw_boxes(maps: list[tuple[torch.Tensor, ...]]) -> torch.Tensor:
    return torch.cat([m[0].flatten(2) for m in maps], 2).permute(0, 2, 1)


def losses(maps: list[tuple[torch.Tensor, ...]], labels: torch.Tensor) -> dict[str, torch.Tensor]:
    predicted, assign = decode(maps), Assigner(SIZE, 6)
    assigned = [assign(*one) for one in zip(predicted, labels, strict=True)]
    label_of, overlap = (torch.stack(rows) for rows in zip(*assigned, strict=True))
    return YoloxLoss(SIZE, 'cpu')(predicted, raw_boxes(maps), labels, label_of, overlap, ONE)


def losses_of_the_library(
    maps: list[tuple[torch.Tensor, ...]], labels: torch.Tensor
) -> tuple[float, ...]:
    library = YoloxHead(6, width=1 / 256, in_channels=[256] * 3)
    library.use_l1 = True
    low, high = labels[..., 1:3], labels[..., 3:5]
    rows = torch.cat([labels[..., :1], (low + high) / 2, high - low], -1)
    rows[labels[..., 0] < 0] = 0
    x, y, strides = [], [], []
    for s in STRIDES:
        row, column = torch.meshgrid(
            torch.arange(SIZE[0] // s), torch.arange(SIZE[1] // s), indexing='ij'
        )
        x.append(column.reshape(1, -1).float())
        y.append(row.reshape(1, -1).float())
        strides.append(torch.full_like(x[-1], s))
    given = (None, x, y, strides, rows, decode(maps), [raw_boxes(maps)], torch.float32)
    return tuple(float(v) for v in library.get_losses(*given)[:5])


@pytest.mark.parametrize('seed', range(4))
def test_losses_are_the_librarys(seed):
    torch.manual_seed(seed)
    labels, maps = random_labels(np.random.default_rng(seed), 6), random_maps(6)
    found = losses(maps, labels)
    expected = losses_of_the_library(maps, labels)
    assert [float(found[name]) for name in LOSSES] == pytest.approx(expected, rel=1e-4)


def test_pictures_without_labels_teach_that_nothing_is_there():
    torch.manual_seed(0)
    maps, labels = random_maps(2), torch.full((2, SLOTS, 6), -1.0)
    found = losses(maps, labels)
    assert float(found['obj']) > 0
    assert [float(found[name]) for name in ('iou', 'cls', 'l1')] == [0, 0, 0]


def test_ignored_boxes_teach_nothing():
    torch.manual_seed(0)
    maps, labels = random_maps(1), torch.full((1, SLOTS, 6), -1.0)
    empty = losses(maps, labels)['obj']
    labels[0, 0] = torch.tensor([2, 0, 0, SIZE[1], SIZE[0], 1])
    assert float(losses(maps, labels)['total']) == 0
    labels[0, 0, 3] = SIZE[1] / 2
    assert 0 < float(losses(maps, labels)['obj']) < float(empty)


def test_anchors_learn_labels_that_are_asked_for():
    torch.manual_seed(0)
    labels = random_labels(np.random.default_rng(0), 1)[0]
    labels[::2, 5] = 1
    label_of, overlap = Assigner(SIZE, 6)(decode(random_maps(1))[0], labels)
    asked = ((labels[:, 0] >= 0) & (labels[:, 5] == 0)).nonzero()[:, 0].tolist()
    assert sorted(set(label_of.tolist())) == [-1, *asked]
    assert torch.equal(overlap > 0, label_of >= 0)


def test_processes_assign_as_one_does():
    torch.manual_seed(0)
    labels, predicted = random_labels(np.random.default_rng(1), 9), decode(random_maps(9))
    with AssignmentPool(9, SLOTS, SIZE, 6, workers=2) as pool:
        pool.predicted.copy_(predicted)
        pool.labels.copy_(labels)
        pool.assign(0, 5)
        assert (pool.label_of[5:] == -1).all()
        pool.assign(5, 9)
        assign = Assigner(SIZE, 6)
        for k in range(9):
            label_of, overlap = assign(predicted[k], labels[k])
            assert torch.equal(pool.label_of[k], label_of)
            assert torch.equal(pool.overlap[k], overlap)


def test_a_process_that_fails_ends_the_training(capfd):
    with AssignmentPool(2, SLOTS, SIZE, 6, workers=2) as pool:
        pool.predicted.fill_(torch.nan)
        pool.labels.copy_(squares(2)[1])
        with pytest.raises(RuntimeError, match=r'one ended with code 1\. Its error is above'):
            pool.assign(0, 2)
    assert 'all elements of input should be between 0 and 1' in capfd.readouterr().err


def test_a_process_that_was_killed_ends_the_training():
    with AssignmentPool(2, SLOTS, SIZE, 6, workers=2) as pool:
        os.kill(pool.processes[0].pid, signal.SIGKILL)
        with pytest.raises(RuntimeError, match='one ended with code -9'):
            while True:
                pool.assign(0, 2)


def test_chained_pools_are_the_wide_pools():
    x = torch.randn(1, 64, 20, 30)
    torch.manual_seed(0)
    chained = Pool(64, 'chained', 'relu6').eval()
    wide = Pool(64, 'parallel', 'relu6').eval()
    wide.load_state_dict(chained.state_dict())
    assert torch.equal(chained(x), wide(x))


@pytest.mark.parametrize(
    'changes', [{}, {'act': 'silu'}, {'stem': 'focus'}, {'pool': 'parallel'}, {'block': 'csp'}]
)
def test_every_design_has_the_same_outputs(changes):
    network = EdgeYolox(EDGE_N.with_(**changes), 6).eval()
    with torch.no_grad():
        shapes = [tuple(m.shape) for level in network(torch.zeros(1, 3, *SIZE)) for m in level]
    assert shapes[:3] == [(1, 4, 40, 60), (1, 1, 40, 60), (1, 6, 40, 60)]
    assert gflops(EdgeYolox(EDGE_N, 6), SIZE) <= 2.5


def squares(n: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return dark pictures with one bright square each, and its label."""
    rng = np.random.default_rng(0)
    images = np.zeros((n, HEIGHT, WIDTH, 3), np.uint8)
    labels = np.full((n, SLOTS, 6), -1, np.float32)
    for k in range(n):
        x, y = int(rng.integers(300, 560)), int(rng.integers(200, 360))
        images[k, y : y + 80, x : x + 100] = 255
        labels[k, 0] = (0, x, y, x + 100, y + 80, 0)
    return torch.from_numpy(images), torch.from_numpy(labels)


def test_augmented_labels_stay_on_their_objects():
    """A bright square in a dark picture must be where its label says after every augmentation."""
    chance = torch.rand(16, CHANCES, generator=torch.Generator().manual_seed(1))
    picture, moved = augment(*squares(16), chance, ONE, SIZE)
    asked = 0
    for one, row in zip(picture, moved[:, 0], strict=True):
        if row[0] >= 0 and row[5] == 0:
            bright = (one.mean(0) > 0.8 * one.mean(0).max()).nonzero().float()
            (top, left), (bottom, right) = bright.min(0).values, bright.max(0).values + 1
            assert (torch.stack([left, top, right, bottom]) - row[1:5]).abs().max() <= 2.5
            asked += 1
    assert asked > 8


def test_the_last_part_of_the_training_sees_pictures_as_the_node_does(tmp_path):
    images, labels = squares(4)
    np.save(tmp_path / 'val_images.npy', images.numpy())
    np.save(tmp_path / 'val_labels.npy', labels.numpy())
    chance = torch.rand(4, CHANCES)
    chance[:, 4:] = 1.0  # no flip
    chance[:, 5:] = torch.tensor([5 / 11, 0.5, 0.5, 0.5, 0.5, 0.5])  # no tint
    picture, moved = augment(images, labels, chance, NONE, SIZE)
    plain, rows = Pictures(tmp_path, 'val', SIZE, 'cpu').plain(0, 4)
    assert torch.allclose(picture, plain, atol=0.5)
    assert torch.equal(moved[:, 0, 1:5], rows[:, 0, 1:5] / 2)


def test_every_picture_comes_before_any_comes_again():
    order = Order(10, 5, 'cpu', torch.Generator().manual_seed(0))
    for _ in range(3):
        assert sorted(torch.cat([order.take(), order.take()]).tolist()) == list(range(10))


def test_the_learning_rate_warms_up_and_falls():
    rates = [rate(k, 1000) for k in range(1000)]
    assert rates[:WARMUP_STEPS] == sorted(rates[:WARMUP_STEPS])
    assert rates[WARMUP_STEPS:] == sorted(rates[WARMUP_STEPS:], reverse=True)
    assert max(rates) == 1.0 and rates[-1] < 0.03


def totals(folder: Path, device: str, steps: int, eager: bool, rate: float = 2e-3) -> list[float]:
    """Return the losses of a short training on bright squares."""
    images, labels = squares(4)
    np.save(folder / 'train_images.npy', images.numpy())
    np.save(folder / 'train_labels.npy', labels.numpy())
    size, seen = (128, 192), []
    torch.manual_seed(0)
    with AssignmentPool(4, SLOTS, size, 6, workers=2, pinned=device == 'cuda') as pool:
        network = EdgeYolox(EDGE_N, 6).to(device, memory_format=torch.channels_last)
        step = Step(network, Pictures(folder, 'train', size, device), pool, eager, parts=2)
        random = torch.Generator(device).manual_seed(0)
        for _ in range(steps):
            step.run(torch.arange(4), random, rate, l1=1.0, zoom=0.0)
            seen.append(float(step.losses['total']))
    return seen


def test_steps_learn_and_repeat(tmp_path):
    seen = totals(tmp_path, 'cpu', 12, eager=True)
    assert seen == totals(tmp_path, 'cpu', 12, eager=True)
    assert max(seen[-2:]) < 0.85 * min(seen[:2])


@pytest.mark.gpu
@pytest.mark.timeout(400)
def test_replayed_graphs_learn_as_single_operations_do(tmp_path, monkeypatch):
    if not torch.cuda.is_available():
        pytest.skip('no CUDA device')
    learning = totals(tmp_path, 'cuda', 30, eager=False)
    assert max(learning[-2:]) < 0.85 * min(learning[:2])
    # A rounding error of the input moves a fresh network's gradients by several per cent, and
    # AdamW's first steps know only their signs: compared is what hardly learns, in FP32.
    monkeypatch.setattr('training.step.MIXED', False)
    monkeypatch.setattr('torch.backends.cudnn.allow_tf32', False)
    one_by_one = totals(tmp_path, 'cuda', 20, eager=True, rate=1e-7)
    replayed = totals(tmp_path, 'cuda', 20, eager=False, rate=1e-7)
    assert len(set(replayed)) > 15
    assert replayed == pytest.approx(one_by_one, rel=5e-3)
