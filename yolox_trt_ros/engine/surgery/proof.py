"""Prove that a model still computes the same: both run side by side in ONNX Runtime."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from yolox_trt_ros.core.errors import ModelError
from yolox_trt_ros.engine.onnx_run import OnnxRun
from yolox_trt_ros.engine.surgery.head import CutMap
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
        maps: of the head, finest level first.
        pictures: how many both models were run on.
        scores, boxes: how the original's outputs follow from the maps; see ``YoloxHead``. The maps
            themselves are logits and grid boxes.
    """

    maps: tuple[MapError, ...]
    pictures: int
    scores: str
    boxes: str


def prove(original: ModelProto, surgery: Surgery, pictures: Iterable[np.ndarray]) -> Proof:
    """Run the original and the rewritten model, and compare every map of the head.

    What the cut takes away is proven too: the original's outputs must follow from its maps by
    YOLOX's own concatenation, with or without sigmoid and decoding; that is what the detector does
    with the maps.

    Args:
        original: as it was read.
        surgery: what was made of it.
        pictures: float32 (3, height, width), at least one, of ``surgery.shape``.

    Raises:
        ModelError: a map differs by more than :data:`TOLERANCE`, or the outputs do not follow.
    """
    maps = surgery.maps
    before = OnnxRun(original, [m.original for m in maps])
    after = OnnxRun(surgery.same)
    largest, worst = np.zeros(len(maps)), np.zeros(len(maps))
    possible = list(product(('probability', 'logit'), ('grid', 'pixel')))
    count = 0
    for count, picture in enumerate(pictures, 1):  # noqa: B007
        batch = np.repeat(picture[None], surgery.shape[0], axis=0)
        old, new = before(batch), after(batch)
        _add_errors(maps, old, new, largest, worst)
        outputs = [old[o.name] for o in original.graph.output]
        possible = [p for p in possible if _follows(outputs, old, maps, *p)]
    if not possible:
        raise ModelError(
            'what follows the head is not YOLOX: its outputs are not the concatenated maps, with '
            'or without sigmoid and decoding; export the model without post-processing'
        )
    return Proof(_accepted(maps, largest, worst), count, *possible[0])


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
    maps = surgery.maps
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
    return OnnxRun(model, [m.original for m in surgery.maps])


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


def _follows(
    outputs: Sequence[np.ndarray],
    tensors: Mapping[str, np.ndarray],
    maps: Sequence[CutMap],
    scores: str,
    boxes: str,
) -> bool:
    parts = [_part(tensors[m.original], m, scores, boxes) for m in maps]
    levels = [np.concatenate(parts[i : i + 3], axis=1) for i in range(0, len(parts), 3)]
    flat = [level.reshape(*level.shape[:2], -1) for level in levels]
    joined = [np.concatenate(order, axis=2) for order in (flat, flat[::-1])]
    if len(outputs) == 1:
        parts = [*joined, *(whole.transpose(0, 2, 1) for whole in joined)]
    elif len(outputs) == len(levels):
        parts = levels
    return all(any(_close(part, output) for part in parts) for output in outputs)


def _part(value: np.ndarray, m: CutMap, scores: str, boxes: str) -> np.ndarray:
    """Return a map as it stands in the output, by ``decode_outputs`` of YOLOX's head."""
    value = value.astype(np.float64)
    with np.errstate(over='ignore'):
        if not m.name.startswith('reg'):
            return 1 / (1 + np.exp(-value)) if scores == 'probability' else value
        if boxes == 'grid':
            return value
        y, x = np.mgrid[: value.shape[2], : value.shape[3]]
        centre = (value[:, :2] + np.stack((x, y))) * m.stride
        return np.concatenate((centre, np.exp(value[:, 2:]) * m.stride), axis=1)


def _close(expected: np.ndarray, got: np.ndarray) -> bool:
    if expected.shape != got.shape:
        return False
    allowed = TOLERANCE * max(1.0, float(np.abs(got).max()))
    return bool(np.abs(expected - got).max() <= allowed)
