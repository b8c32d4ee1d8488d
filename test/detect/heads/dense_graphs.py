"""Small random graphs with the ends of many families, so that each can be tried without weights."""

from __future__ import annotations

from collections.abc import Sequence
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


ANCHORS = ((10, 13, 16, 30, 33, 23), (30, 61, 62, 45, 59, 40), (40, 30, 50, 60, 70, 50))
"""Width and height of three anchor boxes of each stride."""


def yolov5(path: Path, masks: int = 0) -> Path:
    """Write [batch, anchors, 5 + classes], anchor box by anchor box within a stride."""
    graph, numbers, rows = DenseGraph(), 5 + CLASSES + masks, []
    for s, anchors in zip(STRIDES, ANCHORS, strict=True):
        cells = (HEIGHT // s) * (WIDTH // s)
        split = graph.number([0, 3, numbers, cells], np.int64)
        raw = graph.new('Reshape', graph.map(s, 3 * numbers, 1.0), split)
        turned = graph.new('Transpose', raw, perm=[0, 1, 3, 2])
        sure = graph.new('Sigmoid', graph.part(turned, 0, 5 + CLASSES, 3))
        y, x = np.mgrid[: HEIGHT // s, : WIDTH // s]
        points = graph.number((np.stack((x.ravel(), y.ravel()), 1)[None, None] - 0.5) * s)
        sizes = graph.number(4 * np.array(anchors).reshape(1, 3, 1, 2))
        first = graph.new('Mul', graph.part(sure, 0, 2, 3), graph.number(2 * s))
        root = graph.part(sure, 2, 4, 3)
        size = graph.new('Mul', graph.new('Mul', root, root), sizes)
        parts = [graph.new('Add', first, points), size, graph.part(sure, 4, 5 + CLASSES, 3)]
        if masks:
            parts.append(graph.part(turned, 5 + CLASSES, numbers, 3))
        whole = graph.join(*parts, axis=3)
        rows.append(graph.new('Reshape', whole, graph.number([0, -1, numbers], np.int64)))
    return graph.write(path, {graph.join(*rows): [graph.batch, 3 * CELLS, numbers]})


def yolov5_maps(path: Path, last: bool = False, sigmoid: bool = False) -> Path:
    """Write the same network's maps, numbers of an anchor last or as channels."""
    graph, numbers, outputs = DenseGraph(), 5 + CLASSES, {}
    for s in STRIDES:
        name, cells = graph.map(s, 3 * numbers, 1.0), [HEIGHT // s, WIDTH // s]
        shape = [graph.batch, 3 * numbers, *cells]
        if last:
            split = graph.number([0, 3, numbers, *cells], np.int64)
            name = graph.new('Transpose', graph.new('Reshape', name, split), perm=[0, 1, 3, 4, 2])
            shape = [graph.batch, 3, *cells, numbers]
        outputs[graph.new('Sigmoid', name) if sigmoid else name] = shape
    return graph.write(path, outputs)


def detr(path: Path, wrong: str = '') -> Path:
    """Write boxes and logits of the cells of one level, each a query; or what only looks so."""
    graph, queries = DenseGraph(), (HEIGHT // 8) * (WIDTH // 8)
    boxes = graph.turned(graph.flat(graph.new('Sigmoid', graph.map(8, 4)), 4))
    logits = graph.turned(graph.flat(graph.map(8, CLASSES), CLASSES))
    if wrong == 'corners':
        half = graph.new('Mul', graph.part(boxes, 2, 4, 2), graph.number(0.5))
        centre = graph.part(boxes, 0, 2, 2)
        boxes = graph.join(graph.new('Sub', centre, half), graph.new('Add', centre, half), axis=2)
        boxes = graph.new('Clip', boxes, graph.number(0.0), graph.number(1.0))
    elif wrong == 'pixels':
        boxes = graph.new('Mul', boxes, graph.number(WIDTH))
    elif wrong == 'probabilities':
        logits = graph.new('Sigmoid', logits)
    shapes = [graph.batch, queries, 4], [graph.batch, queries, CLASSES]
    return graph.write(path, dict(zip((boxes, logits), shapes, strict=True)))
