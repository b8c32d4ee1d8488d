"""Detections: the boxes, scores and classes found in one image."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, overload

import numpy as np

from yolox_trt_ros.core.errors import MissingDependencyError, did_you_mean

if TYPE_CHECKING:
    from yolox_trt_ros.core.segmentation import Segmentation

FLOAT, INT = np.dtype(np.float32), np.dtype(np.int32)
_set = object.__setattr__


class Detection(NamedTuple):
    """One object.

    Attributes:
        label: its class's name; the class's number as text where names are not known.
        score: 0 to 1.
        box: left, top, right, bottom in source-image pixels.
        class_id: index into the model's labels.
    """

    label: str
    score: float
    box: tuple[float, float, float, float]
    class_id: int


@dataclass(frozen=True, slots=True, eq=False, init=False)
class Detections:
    """Boxes, scores and classes of one image, best score first; empty is a normal value.

    Iteration, and an integer as index, give each :class:`Detection`; a slice, a mask or an array of
    indices gives these detections alone: ``found[found.mask('car') & (found.score > 0.5)]``.

    Attributes:
        xyxy: float32 (n, 4), left, top, right, bottom in source-image pixels.
        score: float32 (n,), 0 to 1.
        class_id: int32 (n,), index into the model's labels.
        labels: the model's, shared and not copied; empty where they are not known.
        track_id: int64 (n,), the number of each object in its camera's images, below 0 where it has
            none; None: nobody tracks.
        segmentation: the class of every pixel of the image; None: the model gives none, or nobody
            asked for it.

    Raises:
        ValueError: shapes or dtypes do not fit each other.
    """

    xyxy: np.ndarray
    score: np.ndarray
    class_id: np.ndarray
    labels: Sequence[str] = field(repr=False)
    track_id: np.ndarray | None = field(repr=False)
    segmentation: Segmentation | None = field(repr=False)

    def __init__(
        self,
        xyxy: np.ndarray,
        score: np.ndarray,
        class_id: np.ndarray,
        labels: Sequence[str] = (),
        track_id: np.ndarray | None = None,
        segmentation: Segmentation | None = None,
    ) -> None:
        n = len(xyxy)
        # Written out, and checked in one go: every image of every batch passes here.
        if not (
            xyxy.shape == (n, 4)
            and score.shape == class_id.shape == (n,)
            and xyxy.dtype == score.dtype == FLOAT
            and class_id.dtype == INT
        ):
            raise ValueError(_misfit(n, xyxy=xyxy, score=score, class_id=class_id))
        _set(self, 'xyxy', xyxy)
        _set(self, 'score', score)
        _set(self, 'class_id', class_id)
        _set(self, 'labels', labels)
        _set(self, 'track_id', track_id)
        _set(self, 'segmentation', segmentation)

    def __len__(self) -> int:
        return len(self.score)

    def __iter__(self) -> Iterator[Detection]:
        arrays = (self.score.tolist(), self.xyxy.tolist(), self.class_id.tolist())
        for score, box, number in zip(*arrays, strict=True):
            yield Detection(self._label(number), score, tuple(box), number)

    @overload
    def __getitem__(self, index: int) -> Detection: ...

    @overload
    def __getitem__(self, index: slice | Sequence[int] | np.ndarray) -> Detections: ...

    def __getitem__(self, index: Any) -> Detection | Detections:
        if isinstance(index, (int, np.integer)) and not isinstance(index, bool):
            number = int(self.class_id[index])
            box = tuple(self.xyxy[index].tolist())
            return Detection(self._label(number), float(self.score[index]), box, number)
        tracks = None if self.track_id is None else self.track_id[index]
        arrays = (self.xyxy[index], self.score[index], self.class_id[index])
        return Detections(*arrays, self.labels, tracks, self.segmentation)

    def tracked(self, track_id: np.ndarray) -> Detections:
        """Return them with the numbers of their objects, int64 (n,)."""
        return Detections(
            self.xyxy, self.score, self.class_id, self.labels, track_id, self.segmentation
        )

    def segmented(self, segmentation: Segmentation | None) -> Detections:
        """Return them with the class mask of their image."""
        return Detections(
            self.xyxy, self.score, self.class_id, self.labels, self.track_id, segmentation
        )

    def mask(self, *labels: str) -> np.ndarray:
        """Return which detections are of one of these classes, bool (n,).

        Raises:
            ValueError: the model has no class of that name.
        """
        for label in labels:
            if label not in self.labels:
                near = did_you_mean(label, self.labels)
                raise ValueError(f'expected a class of the model, got "{label}"{near}')
        return np.isin(self.class_id, [i for i, n in enumerate(self.labels) if n in labels])

    def to_supervision(self) -> Any:
        """Return them as ``supervision.Detections``, class names under ``data['class_name']``.

        Raises:
            MissingDependencyError: supervision is not installed.
        """
        try:
            import supervision
        except ImportError as error:
            raise MissingDependencyError(
                'to_supervision needs supervision: pip install supervision'
            ) from error
        names = np.array([self._label(number) for number in self.class_id.tolist()], np.str_)
        return supervision.Detections(
            self.xyxy.copy(),
            confidence=self.score.copy(),
            class_id=self.class_id.astype(int),
            data={'class_name': names},
            tracker_id=None if self.track_id is None else self.track_id.copy(),
        )

    @classmethod
    def empty(cls) -> Detections:
        """Return a result without any box."""
        return cls(
            np.empty((0, 4), np.float32), np.empty((0,), np.float32), np.empty((0,), np.int32)
        )

    def _label(self, number: int) -> str:
        return self.labels[number] if self.labels else str(number)


def _misfit(n: int, **arrays: np.ndarray) -> str:
    """Return what is wrong with the first array that does not fit."""
    for name, array in arrays.items():
        dtype = INT if name == 'class_id' else FLOAT
        shape = (n, 4) if name == 'xyxy' else (n,)
        if array.shape != shape or array.dtype != dtype:
            break
    return (
        f'{name}: expected {dtype.name} of shape {shape}, '
        f'got {array.dtype.name} of shape {array.shape}'
    )
