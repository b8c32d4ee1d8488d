"""Small random graphs with the ends of many families, so that each can be tried without weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from tiny_models import HEIGHT, LABELS, WIDTH, Graph, write_model

STRIDES = (8, 16, 32)
CLASSES = len(LABELS)
CELLS = sum((HEIGHT // s) * (WIDTH // s) for s in STRIDES)
Outputs = dict[str, Sequence[int | str]]


class DenseGraph(Graph):
    """A graph whose maps are convolutions of the image.

    Pixels come as 0 to 255 or as 0 to 1; ``spread`` is the deviation of the maps' numbers then.
    """

    def __init__(self, bright: float = 1.0, seed: int = 0, batch: int | str = 'n') -> None:
        super().__init__()
        self.bright, self.seed, self.batch = bright, seed, batch
        self._count = self._maps = 0

    def map(self, stride: int, channels: int, spread: float = 2.0, bias: float = 0.0) -> str:
        self._maps += 1
        rng = np.random.default_rng([self.seed, self._maps])
        size = (channels, 3, stride, stride)
        deviation = 74 * self.bright / 255
        weight = rng.normal(0, spread / deviation / np.sqrt(3 * stride * stride), size)
        weight -= weight.mean(axis=(1, 2, 3), keepdims=True)
        name = f'map_{self._maps}'
        inputs = (
            'images',
            self.constant(f'{name}_weight', weight.astype(np.float32)),
            self.constant(f'{name}_bias', np.full(channels, bias, np.float32)),
        )
        return self.add('Conv', inputs, name, strides=[stride, stride])

    def new(self, kind: str, *inputs: str, **attributes: object) -> str:
        self._count += 1
        return self.add(kind, inputs, f'{kind.lower()}_{self._count}', **attributes)

    def number(self, value: object, kind: type = np.float32) -> str:
        self._count += 1
        return self.constant(f'constant_{self._count}', np.asarray(value, kind))

    def flat(self, name: str, channels: int) -> str:
        """Return a map as [batch, channels, cells]."""
        return self.new('Reshape', name, self.number([0, channels, -1], np.int64))

    def part(self, name: str, first: int, last: int, axis: int = 1) -> str:
        bounds = [self.number([v], np.int64) for v in (first, last, axis)]
        return self.new('Slice', name, *bounds)

    def join(self, *names: str, axis: int = 1) -> str:
        return self.new('Concat', *names, axis=axis)

    def mean(self, name: str, bins: int) -> str:
        """Return [batch, 4, cells] of the distributions [batch, 4 × bins, cells]."""
        split = self.new('Reshape', name, self.number([0, 4, bins, -1], np.int64))
        last = self.new('Softmax', self.new('Transpose', split, perm=[0, 2, 1, 3]), axis=1)
        weight = self.number(np.arange(bins).reshape(1, bins, 1, 1))
        return self.new(
            'Reshape', self.new('Conv', last, weight), self.number([0, 4, -1], np.int64)
        )

    def points(self, offset: float) -> tuple[str, str]:
        """Return points of all cells [1, 2, cells], in cells, and strides [1, 1, cells]."""
        cells, strides = [], []
        for s in STRIDES:
            y, x = np.mgrid[: HEIGHT // s, : WIDTH // s]
            cells.append(np.stack((x.ravel(), y.ravel())) + offset)
            strides.append(np.full((1, x.size), s))
        return (
            self.number(np.concatenate(cells, axis=1)[None]),
            self.number(np.concatenate(strides, axis=1)[None]),
        )

    def corners(self, distances: str, offset: float = 0.5) -> str:
        """Return [batch, 4, cells] corners in pixels of distances in cells."""
        points, strides = self.points(offset)
        first = self.new('Sub', points, self.part(distances, 0, 2))
        last = self.new('Add', points, self.part(distances, 2, 4))
        return self.new('Mul', self.join(first, last), strides)

    def centre(self, corners: str) -> str:
        """Return centre and size of corners [batch, 4, cells]."""
        first, last = self.part(corners, 0, 2), self.part(corners, 2, 4)
        middle = self.new('Div', self.new('Add', first, last), self.number(2))
        return self.join(middle, self.new('Sub', last, first))

    def turned(self, name: str) -> str:
        return self.new('Transpose', name, perm=[0, 2, 1])

    def write(self, path: Path, outputs: Outputs, labels: Sequence[str] = LABELS) -> Path:
        (path.parent / 'labels.txt').write_text('\n'.join(labels) + '\n')
        images = {'images': [self.batch, 3, HEIGHT, WIDTH]}
        return write_model(path, self, images, outputs)


def distributions(graph: DenseGraph, bins: int) -> tuple[str, str]:
    """Return distances [batch, 4, cells] in cells and class logits [batch, classes, cells]."""
    boxes = [graph.flat(graph.map(s, 4 * bins), 4 * bins) for s in STRIDES]
    classes = [graph.flat(graph.map(s, CLASSES, bias=-1), CLASSES) for s in STRIDES]
    return graph.mean(graph.join(*boxes, axis=2), bins), graph.join(*classes, axis=2)


def yolov8(path: Path, masks: int = 0) -> Path:
    graph = DenseGraph()
    distances, classes = distributions(graph, 16)
    parts = [graph.centre(graph.corners(distances)), graph.new('Sigmoid', classes)]
    shape = [graph.batch, 4 + CLASSES + masks, CELLS]
    if masks:
        parts.append(graph.join(*(graph.flat(graph.map(s, masks), masks) for s in STRIDES), axis=2))
    outputs: Outputs = {graph.join(*parts): shape}
    if masks:
        outputs[graph.map(4, masks)] = [graph.batch, masks, HEIGHT // 4, WIDTH // 4]
    return graph.write(path, outputs)


def yolov8_maps(
    path: Path, apart: bool = False, scores: str = 'logit', classes: int = CLASSES
) -> Path:
    """Write the same network without decoding."""
    graph = DenseGraph()
    boxes = [graph.map(s, 64) for s in STRIDES]
    rated = [graph.map(s, classes, bias=-1) for s in STRIDES]
    if scores == 'probability':
        rated = [graph.new('Sigmoid', name) for name in rated]
    outputs: Outputs = {}
    for s, box, score in zip(STRIDES, boxes, rated, strict=True):
        cells = [HEIGHT // s, WIDTH // s]
        if apart:
            outputs |= {box: [graph.batch, 64, *cells], score: [graph.batch, classes, *cells]}
        else:
            outputs[graph.join(box, score)] = [graph.batch, 64 + classes, *cells]
    return graph.write(path, outputs, [f'class {i}' for i in range(classes)])


def yolov6(path: Path, bins: int = 1) -> Path:
    graph = DenseGraph()
    distances, classes = distances_of(graph, bins)
    boxes = graph.centre(graph.corners(distances))
    ones = graph.number(np.ones((1, 1, CELLS)))
    zero = graph.new('Mul', graph.part(boxes, 0, 1), graph.number(0))
    whole = graph.join(boxes, graph.new('Add', zero, ones), graph.new('Sigmoid', classes))
    return graph.write(path, {graph.turned(whole): [graph.batch, CELLS, 5 + CLASSES]})


def yolo_nas(path: Path, last: bool = True) -> Path:
    """Write boxes and scores, scores with channels first where ``last`` is false."""
    graph = DenseGraph()
    distances, classes = distributions(graph, 17)
    boxes, scores = graph.turned(graph.corners(distances)), graph.new('Sigmoid', classes)
    if last:
        scores = graph.turned(scores)
    shape = [CELLS, CLASSES] if last else [CLASSES, CELLS]
    return graph.write(path, {boxes: [graph.batch, CELLS, 4], scores: [graph.batch, *shape]})


RTMDET_DEVIATION = 57.3 / 255


def rtmdet(path: Path) -> Path:
    """Write corners, by distances from the cells' corners, and scores."""
    graph = DenseGraph(1 / RTMDET_DEVIATION)
    distances, classes = distances_of(graph, 1)
    boxes = graph.turned(graph.corners(distances, 0.0))
    scores = graph.turned(graph.new('Sigmoid', classes))
    return graph.write(
        path, {boxes: [graph.batch, CELLS, 4], scores: [graph.batch, CELLS, CLASSES]}
    )


def rtmdet_maps(path: Path, made: str = 'logit') -> Path:
    """Write the same network's maps: classes of all strides, then distances."""
    graph = DenseGraph(1 / RTMDET_DEVIATION)
    boxes = [graph.map(s, 4, 0.3, 1.5) for s in STRIDES]
    outputs: Outputs = {}
    for s in STRIDES:
        outputs[graph.map(s, CLASSES, bias=-1)] = [
            graph.batch, CLASSES, HEIGHT // s, WIDTH // s,
        ]  # fmt: skip
    for s, box in zip(STRIDES, boxes, strict=True):
        name = graph.new('Mul', box, graph.number(s)) if made == 'pixel' else box
        outputs[name] = [graph.batch, 4, HEIGHT // s, WIDTH // s]
    return graph.write(path, outputs)


def distances_of(graph: DenseGraph, bins: int) -> tuple[str, str]:
    """Return distances in cells and class logits; with one bin, a number is the distance."""
    if bins > 1:
        return distributions(graph, bins)
    boxes = [graph.flat(graph.map(s, 4, 0.3, 1.5), 4) for s in STRIDES]
    classes = [graph.flat(graph.map(s, CLASSES, bias=-1), CLASSES) for s in STRIDES]
    return graph.join(*boxes, axis=2), graph.join(*classes, axis=2)


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


GRAPHS: dict[str, Callable[[Path], Path]] = {
    'yolov8': yolov8,
    'yolov8 maps': yolov8_maps,
    'yolov6': yolov6,
    'rtmdet': rtmdet,
    'rtmdet maps': rtmdet_maps,
    'yolo_nas': yolo_nas,
    'final': end_to_end,
    'final rows': suppressed_rows,
    'final dets': dets_and_labels,
    'final plugin': plugin,
}
"""Graphs of each family: the first word is its name."""
