"""Small random graphs that end in final boxes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from dense_graphs import CLASSES, DenseGraph, Outputs, distances_of, distributions
from tiny_models import HEIGHT, LABELS, WIDTH, write_model

FINAL = 20


def end_to_end(path: Path, bins: int = 16) -> Path:
    """Write YOLOv10's end: the best scores of all anchors and classes."""
    graph = DenseGraph()
    distances, classes = distances_of(graph, bins)
    boxes, scores = graph.turned(graph.corners(distances)), graph.turned(classes)
    flat = graph.new('Reshape', graph.new('Sigmoid', scores), graph.number([0, -1], np.int64))
    graph.add('TopK', [flat, graph.number([FINAL], np.int64)], 'best', axis=1)
    graph.nodes[-1].output.append('place')
    count = graph.number(CLASSES, np.int64)
    anchor = graph.new('Unsqueeze', graph.new('Div', 'place', count), graph.number([2], np.int64))
    four = graph.new('Tile', anchor, graph.number([1, 1, 4], np.int64))
    class_id = graph.new('Cast', graph.new('Mod', 'place', count), to=1)
    last = graph.number([2], np.int64)
    whole = graph.join(
        graph.new('GatherElements', boxes, four, axis=1),
        graph.new('Unsqueeze', 'best', last),
        graph.new('Unsqueeze', class_id, last),
        axis=2,
    )
    return graph.write(path, {whole: [graph.batch, FINAL, 6]})


def suppressed_rows(path: Path, score: float = 0.3) -> Path:
    """Write rows of image, corners, class, score that a NonMaxSuppression leaves of a YOLOv8."""
    graph = DenseGraph()
    distances, classes = distributions(graph, 16)
    corners, scores = graph.corners(distances), graph.new('Sigmoid', classes)
    kept = graph.new(
        'NonMaxSuppression', graph.turned(corners), scores, graph.number([50], np.int64),
        graph.number([0.45]), graph.number([score]),
    )  # fmt: skip
    image, class_id, anchor = (graph.part(kept, i, i + 1) for i in range(3))
    boxes = graph.new('GatherND', graph.turned(corners), graph.join(image, anchor))
    best = graph.new('GatherND', scores, kept)
    whole = graph.join(
        graph.new('Cast', image, to=1),
        boxes,
        graph.new('Cast', class_id, to=1),
        graph.new('Unsqueeze', best, graph.number([1], np.int64)),
    )
    return graph.write(path, {whole: ['found', 7]})


def dets_and_labels(path: Path) -> Path:
    """Write mmdeploy's two outputs behind the best scores, for one image: dets and labels."""
    graph = DenseGraph(batch=1)
    distances, classes = distances_of(graph, 1)
    boxes, scores = graph.turned(graph.corners(distances)), graph.new('Sigmoid', classes)
    best = graph.new('ReduceMax', scores, graph.number([1], np.int64), keepdims=0)
    graph.add('TopK', [best, graph.number([FINAL], np.int64)], 'best', axis=1)
    graph.nodes[-1].output.append('place')
    last = graph.number([2], np.int64)
    four = graph.new(
        'Tile', graph.new('Unsqueeze', 'place', last), graph.number([1, 1, 4], np.int64)
    )
    dets = graph.join(
        graph.new('GatherElements', boxes, four, axis=1),
        graph.new('Unsqueeze', 'best', last),
        axis=2,
    )
    of_all = graph.new('ArgMax', scores, axis=1, keepdims=0)
    graph.add('GatherElements', [of_all, 'place'], 'labels', axis=1)
    graph.add('Identity', [dets], 'dets')
    (path.parent / 'labels.txt').write_text('\n'.join(LABELS) + '\n')
    return write_model(
        path,
        graph,
        {'images': [1, 3, HEIGHT, WIDTH]},
        {'dets': [1, FINAL, 5], 'labels': [1, FINAL]},
        kinds={'labels': 7},
    )


def plugin(path: Path, domain: str = 'TRT', head: str = 'yolov8') -> Path:
    """Write a graph that ends in TensorRT's EfficientNMS_TRT, in one of the domains it has."""
    graph = DenseGraph()
    distances, classes = distances_of(graph, 16 if head == 'yolov8' else 1)
    boxes, scores = graph.turned(graph.corners(distances)), graph.turned(classes)
    names = ['num', 'boxes', 'scores', 'classes']
    graph.add(
        'EfficientNMS_TRT', [boxes, scores], names[0], domain=domain, max_output_boxes=FINAL,
        score_activation=1, box_coding=0, iou_threshold=0.45, score_threshold=0.25,
        background_class=-1, plugin_version='1',
    )  # fmt: skip
    graph.nodes[-1].output.extend(names[1:])
    (path.parent / 'labels.txt').write_text('\n'.join(LABELS) + '\n')
    shapes: Outputs = {'num': ['n', 1], 'boxes': ['n', FINAL, 4], 'scores': ['n', FINAL]}
    return write_model(
        path,
        graph,
        {'images': ['n', 3, HEIGHT, WIDTH]},
        {**shapes, 'classes': ['n', FINAL]},
        kinds={'num': 6, 'classes': 6},
    )
