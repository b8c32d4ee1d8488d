"""Small random graphs that scale their boxes themselves, by an input for the image's size."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from dense_graphs import CELLS, CLASSES, DenseGraph, Outputs, distributions
from tiny_models import HEIGHT, LABELS, WIDTH, write_model

RANKED = 20


def ranked_detr(
    path: Path, dtype: str = 'int64', images: int | str = 'n', sizes: str = 'orig_target_sizes'
) -> Path:
    """Write RT-DETR's deployed end: labels, corners in the pixels asked for, and scores."""
    graph, queries = DenseGraph(batch=images), (HEIGHT // 8) * (WIDTH // 8)
    boxes = graph.turned(graph.flat(graph.new('Sigmoid', graph.map(8, 4)), 4))
    logits = graph.turned(graph.flat(graph.map(8, CLASSES), CLASSES))
    centre, size = graph.part(boxes, 0, 2, 2), graph.part(boxes, 2, 4, 2)
    half = graph.new('Mul', size, graph.number(0.5))
    corners = graph.join(graph.new('Sub', centre, half), graph.new('Add', centre, half), axis=2)
    asked = graph.new('Cast', sizes, to=1)
    scale = graph.new('Unsqueeze', graph.join(asked, asked), graph.number([1], np.int64))
    corners = graph.new('Mul', corners, scale)
    flat = graph.new('Reshape', graph.new('Sigmoid', logits), graph.number([0, -1], np.int64))
    graph.add('TopK', [flat, graph.number([RANKED], np.int64)], 'scores', axis=1)
    graph.nodes[-1].output.append('place')
    count = graph.number(CLASSES, np.int64)
    graph.add('Mod', ['place', count], 'labels')
    query = graph.new('Unsqueeze', graph.new('Div', 'place', count), graph.number([2], np.int64))
    four = graph.new('Tile', query, graph.number([1, 1, 4], np.int64))
    graph.add('GatherElements', [corners, four], 'boxes', axis=1)
    (path.parent / 'labels.txt').write_text('\n'.join(LABELS) + '\n')
    assert queries * CLASSES > RANKED
    return write_model(
        path,
        graph,
        {'images': [images, 3, HEIGHT, WIDTH], sizes: [images, 2]},
        {'labels': [images, RANKED], 'boxes': [images, RANKED, 4], 'scores': [images, RANKED]},
        kinds={'labels': 7, sizes: onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))},
    )


def pp_yoloe(path: Path, dtype: str = 'float32', suppressed: bool = False) -> Path:
    """Write PaddleDetection's end: corners by ``scale_factor``, and scores.

    Suppressed, these are rows of class, score and corners, and how many there are.
    """
    graph = DenseGraph(batch=1 if suppressed else 'n')
    distances, classes = distributions(graph, 17)
    boxes, scores = graph.turned(graph.corners(distances)), graph.new('Sigmoid', classes)
    factor = graph.new('Cast', 'scale_factor', to=1)
    across_down = graph.join(graph.part(factor, 1, 2), graph.part(factor, 0, 1))
    whole = graph.join(across_down, across_down)
    divided = graph.new(
        'Div', boxes, graph.new('Reshape', whole, graph.number([-1, 1, 4], np.int64))
    )
    outputs: Outputs = {
        divided: [graph.batch, CELLS, 4],
        scores: [graph.batch, CLASSES, CELLS],
    }
    if suppressed:
        outputs = _suppressed(graph, divided, scores)
    (path.parent / 'labels.txt').write_text('\n'.join(LABELS) + '\n')
    return write_model(
        path,
        graph,
        {'images': [graph.batch, 3, HEIGHT, WIDTH], 'scale_factor': [graph.batch, 2]},
        outputs,
        kinds={
            'scale_factor': onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype)),
            'count': onnx.TensorProto.INT32,
        },
    )


def _suppressed(graph: DenseGraph, boxes: str, scores: str) -> Outputs:
    kept = graph.new(
        'NonMaxSuppression', boxes, scores, graph.number([50], np.int64),
        graph.number([0.45]), graph.number([0.3]),
    )  # fmt: skip
    image, class_id, anchor = (graph.part(kept, i, i + 1) for i in range(3))
    best = graph.new('Unsqueeze', graph.new('GatherND', scores, kept), graph.number([1], np.int64))
    rows = graph.join(
        graph.new('Cast', class_id, to=1),
        best,
        graph.new('GatherND', boxes, graph.join(image, anchor)),
    )
    graph.add('Cast', [graph.new('Shape', kept, start=0, end=1)], 'count', to=6)
    return {rows: ['found', 6], 'count': [1]}
