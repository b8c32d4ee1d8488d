"""What TensorRT's plug-in EfficientNMS_TRT reads and gives."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from yolox_trt_ros.detect.graph.dequantise import NotFollowedError
from yolox_trt_ros.detect.graph.model_graph import ModelGraph
from yolox_trt_ros.detect.graph.plugins import PLUGIN, plugin_shapes, plugins
from yolox_trt_ros.detect.heads.dense.flat import MapLevel, map_levels
from yolox_trt_ros.detect.heads.dense.match import random_maps, sigmoid
from yolox_trt_ros.detect.heads.final.columns import Columns
from yolox_trt_ros.detect.heads.final.head import Column

LOOKED_AT = 40
"""Boxes of the plug-in's inputs that are compared."""


class PluginRows(NamedTuple):
    """Some of what a plug-in reads.

    Attributes:
        values: float64 (n, 6), corners, score, class.
        levels: the maps that it was made of.
    """

    values: np.ndarray
    levels: list[MapLevel]


def plugin_of(graph: ModelGraph) -> Any:
    """Return the plug-in's node, None where there is none."""
    return next(plugins(graph.model), None)


def plugin_rows(
    graph: ModelGraph,
) -> tuple[list[str], list[np.ndarray], Columns, PluginRows]:
    """Return names and forms of the plug-in's outputs, their columns, and rows that it may give.

    Its output's boxes are corners, whatever its input's are.

    Raises:
        NotFollowedError: its inputs cannot be followed.
    """
    node = plugin_of(graph)
    if len(node.input) != 2 or len(node.output) != 4:
        raise NotFollowedError(
            f'{PLUGIN} has {len(node.input)} inputs, expected boxes and scores (its own decoding '
            'of boxes is not read)'
        )
    given = {a.name: a for a in node.attribute}
    end = graph.end(list(node.input))
    values = random_maps(end.maps)
    boxes, scores = (np.asarray(v[0], np.float64) for v in end.run(values))
    if boxes.ndim == 3 and boxes.shape[1] == 1:
        boxes = boxes[:, 0]
    if boxes.ndim != 2 or boxes.shape[1] != 4 or scores.ndim != 2 or len(scores) != len(boxes):
        raise NotFollowedError(f'{PLUGIN} reads other than [batch, boxes, 4] and scores of each')
    if 'score_activation' in given and given['score_activation'].i:
        scores = sigmoid(scores)
    if 'box_coding' in given and given['box_coding'].i:
        half = boxes[:, 2:] / 2
        boxes = np.concatenate((boxes[:, :2] - half, boxes[:, :2] + half), axis=1)
    some = np.linspace(0, len(boxes) - 1, LOOKED_AT).astype(int)
    classes = some % scores.shape[1]
    rows = np.column_stack((boxes[some], scores[some, classes], classes))
    size = graph.input.height, graph.input.width
    kinds = (np.int32, np.float32, np.float32, np.int32)
    shapes = plugin_shapes(graph.model, graph.input.batch or 1)
    forms = [np.zeros(shapes[n], kind) for n, kind in zip(node.output, kinds, strict=True)]
    columns = Columns(Column(1), Column(2), Column(3), 0)
    levels = map_levels(end.maps, values, size)
    return list(node.output), forms, columns, PluginRows(rows, levels)
