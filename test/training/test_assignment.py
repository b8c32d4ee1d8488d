"""SimOTA for a whole batch, and the losses: those of pixeltable-yolox."""

import numpy as np
import pytest

torch = pytest.importorskip('torch', reason='pip install torch')

from yolox_trt_ros.training.learning.assign import Assigner, centred, corners  # noqa: E402
from yolox_trt_ros.training.learning.loss import NAMES, YoloxLoss  # noqa: E402
from yolox_trt_ros.training.networks.maps import (  # noqa: E402
    STRIDES,
    anchors,
    decode,
    raw_boxes,
)

SIZE, CLASSES = (320, 480), 6
# iou, obj, cls, l1 that `YoloxHead.get_losses` of pixeltable-yolox 0.4.3 returns for these seeds.
LIBRARY = {
    0: (3.89265, 161.03908, 4.63262, 2.25213),
    1: (4.02626, 156.60062, 4.53737, 2.07859),
    2: (3.97206, 138.34415, 4.44139, 2.19638),
    3: (3.96992, 164.55638, 4.45203, 2.0449),
}


def labelled(rng: np.random.Generator, pictures: int) -> torch.Tensor:
    """Return random labels; the last picture has none."""
    rows = np.full((pictures, 48, 6), -1, np.float32)
    for k in range(pictures - 1):
        n = int(rng.integers(1, 12))
        corner = rng.uniform(0, [380, 240], (n, 2))
        rows[k, :n, 0] = rng.integers(0, CLASSES, n)
        rows[k, :n, 1:3] = corner
        rows[k, :n, 3:5] = corner + rng.uniform(6, 80, (n, 2))
        rows[k, :n, 5] = 0
    return torch.from_numpy(rows)


def maps(rng: np.random.Generator, pictures: int) -> list[tuple[torch.Tensor, ...]]:
    """Return raw maps whose boxes are about as large as the labels, so that many overlap."""
    out = []
    for s in STRIDES:
        shape = SIZE[0] // s, SIZE[1] // s
        reg, obj, cls = (
            torch.from_numpy(rng.standard_normal((pictures, c, *shape)).astype(np.float32))
            for c in (4, 1, CLASSES)
        )
        reg[:, 2:] = np.log(40 / s) + 0.4 * reg[:, 2:]
        out.append((reg, obj, cls))
    return out


def losses(found: list[tuple[torch.Tensor, ...]], labels: torch.Tensor) -> dict[str, torch.Tensor]:
    predicted = decode(found)
    label_of, overlap = Assigner(SIZE, 'cpu')(predicted, labels)
    return YoloxLoss(SIZE, 'cpu')(predicted, raw_boxes(found), labels, label_of, overlap, 1.0)


@pytest.mark.parametrize('seed', LIBRARY)
def test_losses_are_the_librarys(seed):
    rng = np.random.default_rng(seed)
    labels, found = labelled(rng, 6), maps(rng, 6)
    got = losses(found, labels)
    assert [float(got[name]) for name in NAMES] == pytest.approx(LIBRARY[seed], rel=1e-4)
    assert float(got['total']) == pytest.approx(sum(LIBRARY[seed]), rel=1e-4)


def test_pictures_are_assigned_one_by_one_or_together():
    rng = np.random.default_rng(7)
    labels, predicted = labelled(rng, 4), decode(maps(rng, 4))
    together, overlap = Assigner(SIZE, 'cpu')(predicted, labels)
    for k in range(4):
        alone, shared = Assigner(SIZE, 'cpu')(predicted[k : k + 1], labels[k : k + 1])
        assert torch.equal(alone[0], together[k])
        assert torch.allclose(shared[0], overlap[k])
    assert (together[3] == -1).all()


def test_anchors_learn_labels_that_are_asked_for():
    rng = np.random.default_rng(0)
    labels = labelled(rng, 2)
    labels[0, ::2, 5] = 1
    label_of, overlap = Assigner(SIZE, 'cpu')(decode(maps(rng, 2)), labels)
    asked = ((labels[0, :, 0] >= 0) & (labels[0, :, 5] == 0)).nonzero()[:, 0].tolist()
    assert sorted(set(label_of[0].tolist())) == [-1, *asked]
    assert torch.equal(overlap > 0, label_of >= 0)
    cell, stride = anchors(SIZE)
    middle = centred(labels[0, label_of[0].clamp(min=0), 1:5])[:, :2]
    away = ((cell + 0.5) * stride[:, None] - middle).abs().amax(1) / stride
    assert (away[label_of[0] >= 0] < 1.5).all()


def test_ignored_boxes_teach_nothing():
    rng = np.random.default_rng(0)
    found, labels = maps(rng, 1), torch.full((1, 8, 6), -1.0)
    empty = losses(found, labels)
    assert float(empty['obj']) > 0
    assert [float(empty[name]) for name in ('iou', 'cls', 'l1')] == [0, 0, 0]
    labels[0, 0] = torch.tensor([2, 0, 0, SIZE[1], SIZE[0], 1])
    assert float(losses(found, labels)['total']) == 0
    labels[0, 0, 3] = SIZE[1] / 2
    assert 0 < float(losses(found, labels)['obj']) < float(empty['obj'])


def test_boxes_become_corners_and_return():
    boxes = torch.tensor([[10.0, 20.0, 6.0, 8.0]])
    assert corners(boxes).tolist() == [[7.0, 16.0, 13.0, 24.0]]
    assert torch.equal(centred(corners(boxes)), boxes)
