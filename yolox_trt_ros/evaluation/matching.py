"""Compare the detections of one image with its ground truth, online."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from yolox_trt_ros.core.class_names import matching
from yolox_trt_ros.core.detections import Detections
from yolox_trt_ros.core.rules import Rules
from yolox_trt_ros.report.recording import Quality

MIN_IOU = 0.5


def numbering(names: Sequence[str], shared: Sequence[str]) -> np.ndarray:
    """Return int64 (n,): the place in ``shared`` of each name, -1 if it is not there.

    Names that mean the same class are the same, see :mod:`core.class_names`.
    """
    found = (matching(name, shared) for name in names)
    return np.array([-1 if one is None else shared.index(one) for one in found], int)


def renamed(classes: Sequence[str], labels: Sequence[str], rules: Rules) -> list[str]:
    """Return what the result of a model calls labelled classes.

    Args:
        classes: of the labels.
        labels: of the model's classes.
        rules: which of them count, and under which names.

    Returns:
        Of a class that the model knows, its name in the result, empty if it is left out; any other
        as it is.
    """
    names = []
    for name in classes:
        own = matching(name, labels)
        names.append(name if own is None else rules.names[list(labels).index(own)])
    return names


class SharedClasses:
    """Makes detections and ground truth of two lists of classes comparable, by class name.

    Args:
        model: names of the detections' classes, in the order of their ids.
        world: those of the ground truth's.

    Attributes:
        names: the classes that both know, in the ground truth's order.
    """

    def __init__(self, model: Sequence[str], world: Sequence[str]) -> None:
        self.names = [name for name in world if matching(name, model) is not None]
        self._of_model = numbering(model, self.names)
        self._of_world = numbering(world, self.names)

    def found(self, detections: Detections) -> Detections:
        """Return the detections of shared classes, numbered as in :attr:`names`."""
        class_id = self._of_model[detections.class_id]
        kept = class_id >= 0
        return Detections(
            detections.xyxy[kept], detections.score[kept], class_id[kept].astype(np.int32)
        )

    def truth(self, truth: Detections) -> Detections:
        """Return the true boxes, numbered as in :attr:`names`; of other classes with score 0."""
        class_id = self._of_world[truth.class_id]
        score = np.where(class_id >= 0, truth.score, 0).astype(np.float32)
        return Detections(truth.xyxy, score, class_id.astype(np.int32))


@dataclass(slots=True)
class Tally:
    """How detections compared with labelled objects, summed over images.

    Attributes:
        images: compared images.
        right: labelled objects that were found.
        missed: labelled objects that were not.
        wrong: detections of nothing, or of the wrong class.
    """

    images: int = 0
    right: int = 0
    missed: int = 0
    wrong: int = 0

    def add(self, found: Detections, truth: Detections) -> None:
        """Compare one image, see :func:`match`."""
        claimed, wrong = match(found, truth)
        self.images += 1
        self.right += int(claimed.sum())
        self.wrong += int(wrong.sum())
        self.missed += int((truth.score > 0).sum() - claimed.sum())

    def __iadd__(self, other: Tally) -> Tally:
        for name in self.__slots__:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        return self

    def quality(self, camera: str) -> Quality:
        """Return recall and precision, of one camera."""
        labelled, detections = self.right + self.missed, self.right + self.wrong
        return Quality(
            camera,
            self.images,
            labelled,
            round(self.right / labelled, 4) if labelled else None,
            round(self.right / detections, 4) if detections else None,
        )

    def report(self) -> dict[str, float | int | None]:
        """Return images, labelled objects, recall and precision; shares are None without basis."""
        figures = asdict(self.quality(''))
        del figures['camera']
        return figures


def match(found: Detections, truth: Detections) -> tuple[np.ndarray, np.ndarray]:
    """Return which labelled objects of one image were found, and which detections are wrong.

    Detections claim labelled objects of their class best score first, at an IoU of at least
    :data:`MIN_IOU`, as COCO's evaluation does. A true box with score 0 is neither asked for nor
    held against.

    Args:
        found: n detections.
        truth: m true boxes; score 0: not asked for.

    Returns:
        bool (m,) and bool (n,).
    """
    overlap = iou(found.xyxy, truth.xyxy)
    asked = truth.score > 0
    claimed, wrong = np.zeros(len(truth), bool), np.zeros(len(found), bool)
    for i in np.argsort(-found.score, kind='stable'):
        free = asked & ~claimed & (truth.class_id == found.class_id[i])
        fits = np.where(free, overlap[i], 0.0)
        if fits.max(initial=0.0) >= MIN_IOU:
            claimed[fits.argmax()] = True
        else:
            wrong[i] = overlap[i][~asked].max(initial=0.0) < MIN_IOU
    return claimed, wrong


def iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the overlap of every box of ``a`` (n, 4) with every box of ``b`` (m, 4): (n, m)."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    shared = np.prod(np.maximum(high - low, 0), axis=2)
    area_a, area_b = (np.prod(x[:, 2:] - x[:, :2], axis=1) for x in (a, b))
    union = area_a[:, None] + area_b[None, :] - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
