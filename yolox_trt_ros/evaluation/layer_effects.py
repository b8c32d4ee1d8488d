"""What each layer of a version does to a model's detections, by itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from yolox_trt_ros.core.model import ModelSpec
from yolox_trt_ros.engine.substitution import Substitution
from yolox_trt_ros.evaluation.agreement import Agreement

Progress = Callable[[Iterable[Any], str], Iterable[Any]]


@dataclass(frozen=True, slots=True)
class LayerEffect:
    """What a version's layer does in place of the model's.

    Attributes:
        detections: the part that is lost or false, see :class:`Agreement`; None: the head is not
            known.
        outputs: root of Σ difference² / Σ output², of the output where that is largest.
    """

    detections: float | None
    outputs: float

    def worse_first(self) -> tuple[float, float]:
        """Return what sorts the worst first."""
        return -(self.detections or 0.0), -self.outputs


def layer_effects(
    substitution: Substitution,
    spec: ModelSpec | None,
    pictures: Sequence[np.ndarray],
    progress: Progress,
    given: Mapping[str, Sequence[np.ndarray]] | None = None,
) -> dict[str, LayerEffect]:
    """Return what each layer does to the outputs, by the tensor that it gives out.

    Args:
        substitution: of the version.
        spec: of the model; its head's outputs are those of the substitution. None: not known.
        pictures: float32 (3, height, width).
        progress: shows how far it is.
        given: what the version's layers gave out, for each picture, by the reference's names. The
            errors of the layers before are in it, so the largest effect of what a layer reads is
            taken off. None: each layer by itself.
    """
    tensors = [substitution.tensors(picture) for picture in progress(pictures, 'tensors')]
    outputs = substitution.wanted
    exact = [[one[name] for name in outputs] for one in tensors]
    agreement = spec and Agreement(spec, pictures, _answers(exact))
    found = {}
    layers = [x for x in substitution.layers if given is None or x in given]
    for layer in progress(layers, 'effect of each layer'):
        values = substitution.own(layer, tensors) if given is None else given[layer]
        if all(np.array_equal(v, one[layer]) for v, one in zip(values, tensors, strict=True)):
            found[layer] = LayerEffect(0.0 if spec else None, 0.0)
            continue
        changed = substitution.outputs(layer, values, tensors)
        lost = agreement.loss(_answers(changed)) if agreement else None
        found[layer] = LayerEffect(lost, _change(exact, changed))
    if given is None:
        return found
    return {layer: _added(found, layer, substitution.sources(layer)) for layer in found}


def _added(found: Mapping[str, LayerEffect], layer: str, sources: Sequence[str]) -> LayerEffect:
    """Return what a layer adds to the effect of what it reads."""
    before = [found[source] for source in sources if source in found]
    mine = found[layer]
    outputs = mine.outputs - max((x.outputs for x in before), default=0.0)
    detections = mine.detections
    if detections is not None:
        detections -= max((x.detections or 0.0 for x in before), default=0.0)
    return LayerEffect(detections, outputs)


def _answers(outputs: Sequence[list[np.ndarray]]) -> Callable[[np.ndarray], list[np.ndarray]]:
    """Return what gives the outputs of one picture after the other."""
    answers = iter(outputs)
    return lambda _: next(answers)


def _change(exact: Sequence[list[np.ndarray]], changed: Sequence[list[np.ndarray]]) -> float:
    worst = 0.0
    for k in range(len(exact[0])):
        noise = sum(float(((a[k] - b[k]) ** 2).sum()) for a, b in zip(exact, changed, strict=True))
        signal = sum(float((a[k] ** 2).sum()) for a in exact)
        worst = max(worst, (noise / signal) ** 0.5 if signal else 0.0)
    return worst
