"""Read from an ONNX file, and the YAML beside it, how the model is fed and what it gives."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

from yolox_trt_ros.core.head import HeadCut
from yolox_trt_ros.core.model import ModelSpec
from yolox_trt_ros.detect.description import description_of
from yolox_trt_ros.detect.feeding import fed
from yolox_trt_ros.detect.graph.model_graph import ModelGraph
from yolox_trt_ros.detect.graph.tensors import (
    check_suppression,
    infer_tensors,
    input_spec,
    read_model,
)
from yolox_trt_ros.detect.heads import cut_of, head_of
from yolox_trt_ros.detect.labels import labels_of
from yolox_trt_ros.detect.segmentation import segmentation_of
from yolox_trt_ros.onnx_files import with_constants

_UNNAMED = '; if one holds class masks, "segmentation" in the YAML beside it has to name it'

_log = logging.getLogger(__name__)


def load_model_spec(
    path: Path,
    labels: Path | None = None,
    antialias: bool = False,
    segmentation: bool = True,
) -> ModelSpec:
    """Return what the ONNX file says of itself, corrected by its metadata and its sidecar.

    The sidecar is ``<model>.yaml`` next to the model; its keys are
    :data:`detect.description.SIDECAR_KEYS`. Whatever it does not say of the outputs is found out by
    the families of :mod:`detect.heads`.

    Args:
        path: the ONNX file.
        labels: the class names; by default the metadata or sidecar's list, or ``labels.txt``
            beside the model.
        antialias: see ``InputSpec``.
        segmentation: whether class masks are read, if the model gives them.

    Raises:
        ModelError: the file is missing, not ONNX, no detector that any family knows, or its outputs
            cannot be distinguished or understood.
        MissingDependencyError: the ``onnx`` package is not installed.
    """
    model = read_model(path)
    given = description_of(path, model)
    graph = _graph(path, model, given)
    head = head_of(graph)
    masks = segmentation_of(graph, head) if segmentation else None
    read = [*head.outputs, *([masks.output] if masks else [])]
    left_out = tuple(o.name for o in model.graph.output if o.name not in read)
    if left_out and segmentation:
        _log.warning(
            '%s: its outputs %s are left out; detections come from %s%s',
            path, ', '.join(left_out), ', '.join(head.outputs),
            f', class masks from {masks.output}' if masks else _UNNAMED,
        )  # fmt: skip
    names = labels_of(path, labels, given.get('labels'), head.classes)
    for remark in head.remarks():
        _log.warning('%s: %s', path, remark)
    image = replace(fed(graph, head), antialias=antialias)
    return ModelSpec(image, head, names, left_out, masks)


def head_cut(path: Path, model: Any, given: dict[str, Any]) -> HeadCut:
    """Return where a model may end so that a DLA runs all of it.

    Args:
        path: its file.
        model: the ``onnx.ModelProto`` in it, its input's size fixed.
        given: what its description says, see :func:`detect.description.description_of`.

    Raises:
        ModelError: it ends in no head that any family cuts.
    """
    check_suppression(path, model)
    graph = _graph(path, model, given)
    if len(model.graph.output) == 1:
        return cut_of(graph)
    head = head_of(graph)
    cut = cut_of(replace(graph, given={**given, 'outputs': list(head.outputs)}, memo={}))
    masks = segmentation_of(graph, head)
    if masks is None:
        return cut
    about = {**cut.about, **masks.about()}
    return replace(cut, about=about, kept=(masks.output,), kept_numbers=masks.numbers)


def _graph(path: Path, model: Any, given: dict[str, Any]) -> ModelGraph:
    image = input_spec(path, model, given)
    model = with_constants(model, image.constants())
    return ModelGraph(path, model, image, given, infer_tensors(path, model, image))
