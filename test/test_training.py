"""The training extra: assignment, augmentation and design, where PyTorch is installed."""

import numpy as np
import pytest

torch = pytest.importorskip('torch', reason='pip install -r training/requirements.txt')
pytest.importorskip('yolox', reason='pip install -r training/requirements.txt')

from yolox.models.yolo_head import YoloxHead  # noqa: E402

from training import loss as losses  # noqa: E402
from training.data import HEIGHT, SLOTS, WIDTH, Batches  # noqa: E402
from training.network import EDGE_N, EdgeYolox, Pool, decode, gflops  # noqa: E402

SIZE = (EDGE_N.height, EDGE_N.width)


def random_labels(rng: np.random.Generator, pictures: int) -> torch.Tensor:
    rows = np.full((pictures, SLOTS, 6), -1, np.float32)
    for picture in range(pictures):
        n = int(rng.integers(0, 12))
        corner = rng.uniform(0, 1, (n, 2)) * (SIZE[1] - 40, SIZE[0] - 40)
        rows[picture, :n, 0] = rng.integers(0, 6, n)
        rows[picture, :n, 1:3] = corner
        rows[picture, :n, 3:5] = corner + rng.uniform(6, 40, (n, 2))
        rows[picture, :n, 5] = rng.random(n) < 0.2
    return torch.from_numpy(rows)


def random_maps(pictures: int) -> list[tuple[torch.Tensor, ...]]:
    h, w = SIZE
    return [
        tuple(torch.randn(pictures, c, h // s, w // s) * 0.5 for c in (4, 1, 6))
        for s in (8, 16, 32)
    ]


@pytest.mark.parametrize('seed', range(3))
def test_many_pictures_at_once_are_assigned_as_the_library_assigns_one_by_one(seed, monkeypatch):
    torch.manual_seed(seed)
    labels, maps = random_labels(np.random.default_rng(seed), 6), random_maps(6)
    raw = torch.cat([m[0].flatten(2) for m in maps], 2).permute(0, 2, 1)
    together = losses.YoloxLoss(6, SIZE, 'cpu')(decode(maps), raw, labels, use_l1=True)
    monkeypatch.setattr(losses.Assigner, 'simota_matching', YoloxHead.simota_matching)
    monkeypatch.setattr(losses, '_GROUP', 1)
    single = losses.YoloxLoss(6, SIZE, 'cpu')(decode(maps), raw, labels, use_l1=True)
    for name, value in together.items():
        assert torch.isclose(value, single[name], rtol=1e-4), name


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
    assert gflops(EDGE_N, 6) <= 2.5


def test_augmented_labels_stay_on_their_objects(tmp_path):
    """A bright square in a dark picture must be where its label says after every augmentation."""
    rng, n = np.random.default_rng(0), 16
    images = np.zeros((n, HEIGHT, WIDTH, 3), np.uint8)
    labels = np.full((n, SLOTS, 6), -1, np.float32)
    for k in range(n):
        x, y = int(rng.integers(300, 560)), int(rng.integers(200, 360))
        images[k, y : y + 80, x : x + 100] = 255
        labels[k, 0] = (0, x, y, x + 100, y + 80, 0)
    np.save(tmp_path / 'train_images.npy', images)
    np.save(tmp_path / 'train_labels.npy', labels)
    picture, moved = Batches(tmp_path, 'train', SIZE, n, 'cpu', seed=1).take()
    asked = 0
    for one, row in zip(picture, moved[:, 0], strict=True):
        if row[0] >= 0 and row[5] == 0:
            bright = (one.mean(0) > 0.8 * one.mean(0).max()).nonzero().float()
            (top, left), (bottom, right) = bright.min(0).values, bright.max(0).values + 1
            assert (torch.stack([left, top, right, bottom]) - row[1:5]).abs().max() <= 2.5
            asked += 1
    assert asked > n // 2
