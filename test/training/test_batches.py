"""From pictures to batches: letterboxing, order, augmentation."""

import numpy as np
import pytest

torch = pytest.importorskip('torch', reason='pip install torch')

from yolox_trt_ros.core.frame import Frame  # noqa: E402
from yolox_trt_ros.core.model import InputSpec  # noqa: E402
from yolox_trt_ros.datasets.labelled import LabelledBoxes  # noqa: E402
from yolox_trt_ros.detect.cpu.preprocess import CpuPreprocessor  # noqa: E402
from yolox_trt_ros.training.pictures.augment import (  # noqa: E402
    CHANCES,
    NOTHING,
    Augmentation,
    augment,
)
from yolox_trt_ros.training.pictures.order import Order  # noqa: E402
from yolox_trt_ros.training.pictures.rows import PAD, label_rows, letterbox  # noqa: E402

H, W = 128, 192


def test_pictures_are_placed_as_the_node_places_them():
    bgr = np.random.default_rng(0).integers(0, 255, (90, 100, 3), np.uint8)
    node = CpuPreprocessor(InputSpec('images', 1, H, W))
    target = node.new_input(1)
    node.write(Frame.of(bgr), target[0])
    mine, scale, seen = letterbox(bgr, (H, W))
    assert np.array_equal(mine.transpose(2, 0, 1), target[0])
    assert (scale, seen) == (pytest.approx(H / 90), (128, 142))


def test_of_too_many_labels_the_largest_stay():
    boxes = LabelledBoxes(
        np.array([[0, 0, 4, 4], [0, 0, 30, 30], [0, 0, 9, 9], [5, 5, 5, 9]]), np.arange(4),
        np.array([False, True, False, False]),
    )  # fmt: skip
    rows = label_rows(boxes, 2.0, 2)
    assert rows.tolist() == [[1, 0, 0, 60, 60, 1], [2, 0, 0, 18, 18, 0]]
    assert label_rows(boxes, 1.0, 5)[3:, 0].tolist() == [-1, -1]  # one has no area


def squares(count: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return dark letterboxed pictures with one bright square each, and its label."""
    rng = np.random.default_rng(0)
    images = np.full((count, H, W, 3), PAD, np.uint8)
    labels, seen = np.full((count, 2, 6), -1, np.float32), np.ones((count, 3), np.float32)
    for k in range(count):
        height, width = (H, 150) if k % 2 else (96, W)
        seen[k, :2] = height, width
        images[k, :height, :width] = 0
        x, y = int(rng.integers(10, 100)), int(rng.integers(5, 55))
        images[k, y : y + 30, x : x + 40] = 255
        labels[k, 0] = (1, x, y, x + 40, y + 30, 0)
    return torch.from_numpy(images), torch.from_numpy(labels), torch.from_numpy(seen)


@pytest.mark.parametrize('mosaic', [0.0, 0.5, 1.0])
def test_augmented_labels_stay_on_their_objects(mosaic):
    """What is bright must be what the labels cover, however the pictures were moved."""
    how = Augmentation(mosaic=mosaic, rotation=0.0, still=0.2)
    chance = torch.rand(24, CHANCES, generator=torch.Generator().manual_seed(1))
    pictures, moved = augment(*squares(24), chance, how)
    assert pictures.shape == (24, 3, H, W)
    asked = 0
    for picture, rows in zip(pictures, moved, strict=True):
        covered = torch.zeros(H, W)
        for _, left, top, right, bottom, ignored in rows[rows[:, 0] >= 0].tolist():
            x0, x1 = (int(min(W, max(0, round(v)))) for v in (left, right))
            y0, y1 = (int(min(H, max(0, round(v)))) for v in (top, bottom))
            covered[y0:y1, x0:x1] = 1
            asked += not ignored
        bright = (picture.mean(0) > 150).float()
        wrong = (bright - covered).abs().sum()
        assert wrong <= 0.12 * covered.sum() + 40
    assert asked > (20 if mosaic == 0.0 else 30)


def test_nothing_changes_nothing():
    images, labels, seen = squares(2)
    chance = torch.rand(2, CHANCES)
    picture, moved = augment(images, labels, seen, chance, NOTHING)
    assert torch.allclose(picture, images.permute(0, 3, 1, 2).float(), atol=0.01)
    assert torch.equal(moved[:, 0], labels[:, 0])


def test_the_end_of_a_run_sees_pictures_as_the_node_does_or_mirrored():
    images, labels, seen = squares(4)
    chance = torch.rand(4, CHANCES)
    chance[:, 4] = torch.tensor([0.0, 0.0, 0.9, 0.9])
    picture, moved = augment(images, labels, seen, chance, Augmentation().at_the_end())
    plain = images.permute(0, 3, 1, 2).float()
    assert torch.allclose(picture[2:], plain[2:], atol=0.01)
    for k in range(2):
        width = int(seen[k, 1])  # what is no pad stays at the left
        assert torch.allclose(picture[k, :, :, :width], plain[k, :, :, :width].flip(2), atol=0.01)
        assert float(moved[k, 0, 1]) == pytest.approx(width - float(labels[k, 0, 3]), abs=1e-3)


def test_ranks_share_the_very_batches_that_one_takes_alone():
    alone = Order(50, 12, seed=3)
    shared = [Order(50, 12, 3, rank, 3) for rank in range(3)]
    for step in (0, 3, 4, 11):
        assert np.concatenate([o.indices(step) for o in shared]).tolist() == (
            alone.indices(step).tolist()
        )
        together = torch.cat([o.chances(step) for o in shared])
        assert torch.equal(together, alone.chances(step))


def test_every_picture_comes_before_any_comes_again():
    order = Order(20, 5, seed=0)
    epochs = [np.concatenate([order.indices(4 * e + k) for k in range(4)]) for e in range(2)]
    assert all(sorted(one.tolist()) == list(range(20)) for one in epochs)
    assert epochs[0].tolist() != epochs[1].tolist()
    assert set(Order(3, 8, 0).indices(0).tolist()) == {0, 1, 2}  # fewer pictures than a batch
