"""Prove that a model still computes the same: both run side by side in ONNX Runtime."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from yolox_trt_ros.core.errors import ModelError
from yolox_trt_ros.core.head import CutMap
from yolox_trt_ros.engine.onnx_run import OnnxRun
from yolox_trt_ros.engine.surgery.optimize import Surgery

if TYPE_CHECKING:
    from onnx import ModelProto

TOLERANCE = 1e-4
"""Largest accepted difference, as a part of a tensor's largest magnitude."""


@dataclass(frozen=True, slots=True)
class MapError:
    """How far one map of the head is off, over all pictures.

    Attributes:
        name: of the map.
        largest: magnitude of the original map.
        absolute: largest difference of one number.
    """

    name: str
    largest: float
    absolute: float

    @property
    def relative(self) -> float:
        """Return the difference as a part of the map's largest magnitude."""
        return self.absolute / max(self.largest, 1e-30)


@dataclass(frozen=True, slots=True)
class Proof:
    """What was compared.

    Attributes:
        maps: of the head.
        pictures: how many both models were run on.
    """

    maps: tuple[MapError, ...]
    pictures: int


def prove(original: ModelProto, surgery: Surgery, pictures: Iterable[np.ndarray]) -> Proof:
    """Run the original and the rewritten model, and compare every map of the head.

    Args:
        original: as it was read.
        surgery: what was made of it.
        pictures: float32 (3, height, width), at least one, of ``surgery.shape``.

    Raises:
        ModelError: a map differs by more than :data:`TOLERANCE`.
    """
    maps = surgery.cut.compared
    before = OnnxRun(original, [m.original for m in maps])
    after = OnnxRun(surgery.same)
    largest, worst = np.zeros(len(maps)), np.zeros(len(maps))
    count = 0
    for count, picture in enumerate(pictures, 1):  # noqa: B007
        batch = np.repeat(picture[None], surgery.shape[0], axis=0)
        old, new = before(batch), after(batch)
        _add_errors(maps, old, new, largest, worst)
    return Proof(_accepted(maps, largest, worst), count)


def prove_resized(
    original: ModelProto, surgery: Surgery, pictures: Iterable[np.ndarray]
) -> tuple[MapError, ...] | None:
    """Compare ``surgery.final`` with the original, made to take an input of its batch and size.

    Args:
        original: as it was read.
        surgery: what was made of it, with its activations left as they are.
        pictures: float32 (3, height, width), at least one, of ``surgery.asked``.

    Returns:
        How far each map is off, or None if the original does not run at another size than its own,
        because it is built into its layers.

    Raises:
        ModelError: a map differs by more than :data:`TOLERANCE`.
    """
    maps = surgery.cut.compared
    after = OnnxRun(surgery.final)
    largest, worst = np.zeros(len(maps)), np.zeros(len(maps))
    before: OnnxRun | None = None
    for picture in pictures:
        batch = np.repeat(picture[None], surgery.asked[0], axis=0)
        try:
            before = before or _resized(original, surgery)
            old = before(batch)
        except ModelError:  # ONNX Runtime finds out when it loads the model, or when it runs it
            return None
        _add_errors(maps, old, after(batch), largest, worst)
    return _accepted(maps, largest, worst)


def _resized(original: ModelProto, surgery: Surgery) -> OnnxRun:
    """Return the original up to its maps, with another input, ready to run."""
    model = type(original)()
    model.CopyFrom(original)
    weights = {w.name for w in model.graph.initializer}
    (image,) = (i for i in model.graph.input if i.name not in weights)
    for dim, size in zip(image.type.tensor_type.shape.dim, surgery.asked, strict=True):
        dim.dim_value = size
    # What was inferred for the former size, and what follows the maps.
    del model.graph.value_info[:]
    del model.graph.output[:]
    return OnnxRun(model, [m.original for m in surgery.cut.compared])


def _add_errors(
    maps: Sequence[CutMap],
    old: Mapping[str, np.ndarray],
    new: Mapping[str, np.ndarray],
    largest: np.ndarray,
    worst: np.ndarray,
) -> None:
    for i, m in enumerate(maps):
        difference = np.abs(old[m.original].astype(np.float64) - new[m.name])
        worst[i] = max(worst[i], _finite(difference.max(), m.name))
        largest[i] = max(largest[i], float(np.abs(old[m.original]).max()))


def _accepted(
    maps: Sequence[CutMap], largest: np.ndarray, worst: np.ndarray
) -> tuple[MapError, ...]:
    rows = zip(maps, largest.tolist(), worst.tolist(), strict=True)
    errors = tuple(MapError(m.name, size, difference) for m, size, difference in rows)
    bad = max(errors, key=lambda e: e.relative)
    if bad.relative > TOLERANCE:
        raise ModelError(
            f'the rewritten model differs: {bad.name} by {bad.absolute:.3g}, {bad.relative:.2g} of '
            f'its largest magnitude; accepted is {TOLERANCE:g}'
        )
    return errors


def _finite(value: float, name: str) -> float:
    if not np.isfinite(value):
        raise ModelError(f'{name}: one of the two models gives numbers that are not finite')
    return float(value)
