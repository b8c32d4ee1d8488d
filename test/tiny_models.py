"""Small random YOLOX graphs, so that every kind of export can be tried without a trained one."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

HEIGHT, WIDTH = 64, 96
LABELS = ('car', 'person', 'bus')
MASK_CLASSES, MASK_STRIDE = 5, 4


class Graph:
    """Collects nodes and weights."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def constant(self, name: str, value: np.ndarray) -> str:
        self.weights.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def add(self, kind: str, inputs: Sequence[str], output: str, **attributes: object) -> str:
        self.nodes.append(helper.make_node(kind, list(inputs), [output], **attributes))
        return output


def burn(graph: Graph, layers: int) -> str:
    """Return the image unchanged, after work that no runtime can leave out."""
    weight = graph.constant('burn_weight', np.zeros((32, 32, 3, 3), np.float32))
    first = graph.constant('burn_first', np.zeros((32, 3, 3, 3), np.float32))
    last = graph.add('Conv', ['images', first], 'burn_0', pads=[1, 1, 1, 1])
    for i in range(layers):
        last = graph.add('Conv', [last, weight], f'burn_{i + 1}', pads=[1, 1, 1, 1])
    nothing = graph.add('ReduceMean', [last], 'burn_mean', keepdims=1)
    return graph.add('Add', ['images', nothing], 'burnt')


def head(graph: Graph, source: str, stride: int, classes: int, seed: int) -> list[str]:
    """Return box, objectness and class logits of one level, one convolution of the image each."""
    rng = np.random.default_rng([seed, stride])
    names = []
    for part, channels, bias, spread in (
        ('box', 4, 0.5, 0.5),
        ('objectness', 1, 0.0, 2.0),
        ('class', classes, 0.0, 2.0),
    ):
        size = (channels, 3, stride, stride)
        # Random pixels have a deviation of some 74; the sum over the kernel gets the spread asked.
        weight = rng.normal(0, spread / 74 / np.sqrt(3 * stride * stride), size)
        weight -= weight.mean(axis=(1, 2, 3), keepdims=True)
        name = f'{part}_{stride}'
        inputs = (
            source,
            graph.constant(f'{name}_weight', weight.astype(np.float32)),
            graph.constant(f'{name}_bias', np.full(channels, bias, np.float32)),
        )
        names.append(graph.add('Conv', inputs, name, strides=[stride, stride]))
    return names


def segment(graph: Graph, source: str, kind: str, seed: int) -> str:
    """Return the output ``masks``: a convolution's ``scores``, or numbers ``chosen`` among them.

    ``floats`` are such numbers as float32.
    """
    weight = np.random.default_rng([seed, 99]).normal(0, 1, (MASK_CLASSES, 3, 4, 4))
    weight -= weight.mean(axis=(1, 2, 3), keepdims=True)
    inputs = [source, graph.constant('masks_weight', weight.astype(np.float32))]
    scores = 'masks' if kind == 'scores' else 'masks_scores'
    graph.add('Conv', inputs, scores, strides=[MASK_STRIDE, MASK_STRIDE])
    if kind == 'scores':
        return scores
    chosen = 'masks' if kind == 'chosen' else 'masks_chosen'
    graph.add('ArgMax', [scores], chosen, axis=1, keepdims=1)
    return chosen if kind == 'chosen' else graph.add('Cast', [chosen], 'masks', to=1)


def decode(graph: Graph, box: str, stride: int) -> str:
    """Return centre and size in input pixels, as exports with decoding inside have them."""
    y, x = np.mgrid[: HEIGHT // stride, : WIDTH // stride].astype(np.float32)
    halves = graph.add('Split', [box], f'{box}_centre', axis=1, num_outputs=2)
    graph.nodes[-1].output.append(f'{box}_size')
    scale = graph.constant(f'{box}_stride', np.float32(stride))
    cells = graph.constant(f'{box}_cells', np.stack((x, y))[None])
    moved = graph.add('Add', [halves, cells], f'{box}_moved')
    centre = graph.add('Mul', [moved, scale], f'{box}_xy')
    size = graph.add('Mul', [graph.add('Exp', [f'{box}_size'], f'{box}_exp'), scale], f'{box}_wh')
    return graph.add('Concat', [centre, size], f'{box}_pixel', axis=1)


def join(
    graph: Graph, outputs: Sequence[str], classes: int, strides: Sequence[int]
) -> tuple[str, int]:
    """Return the maps of all levels as one tensor [batch, anchors, 5 + classes], and anchors."""
    flat = graph.constant('flat', np.array([0, 5 + classes, -1], np.int64))
    levels = [
        graph.add(
            'Reshape',
            [graph.add('Concat', outputs[i : i + 3], f'level_{i}', axis=1), flat],
            f'flat_{i}',
        )
        for i in range(0, len(outputs), 3)
    ]
    anchors = graph.add('Concat', levels, 'anchors', axis=2)
    joined = graph.add('Transpose', [anchors], 'output', perm=[0, 2, 1])
    return joined, sum((HEIGHT // s) * (WIDTH // s) for s in strides)


def write_yolox(
    path: Path,
    *,
    layout: str = 'concatenated',
    scores: str = 'probability',
    boxes: str = 'grid',
    batch: int | str = 'batch',
    strides: Sequence[int] = (8, 16, 32),
    labels: Sequence[str] = LABELS,
    seed: int = 0,
    metadata: str | None = None,
    ballast: int = 0,
    segmentation: str = '',
) -> Path:
    """Write a model whose numbers depend on ``seed`` only, and ``labels.txt`` beside it.

    ``ballast`` makes it slower: convolutions of 32 channels at full size that change nothing.
    With ``segmentation`` it has a second output, see :func:`segment`.
    """
    graph = Graph()
    source = burn(graph, ballast) if ballast else 'images'
    outputs: list[str] = []
    for stride in strides:
        box, objectness, classes = head(graph, source, stride, len(labels), seed)
        if scores == 'probability':
            objectness, classes = (
                graph.add('Sigmoid', [name], f'{name}_sigmoid') for name in (objectness, classes)
            )
        if boxes == 'pixel':
            box = decode(graph, box, stride)
        outputs += [box, objectness, classes]
    channels = [4, 1, len(labels)] * len(strides)
    shapes = [
        [batch, c, HEIGHT // s, WIDTH // s]
        for c, s in zip(channels, np.repeat(strides, 3).tolist(), strict=True)
    ]
    if layout == 'concatenated':
        joined, count = join(graph, outputs, len(labels), strides)
        outputs, shapes = [joined], [[batch, count, 5 + len(labels)]]
    kinds = {}
    if segmentation:
        outputs.append(segment(graph, source, segmentation, seed))
        channels = MASK_CLASSES if segmentation == 'scores' else 1
        shapes.append([batch, channels, HEIGHT // MASK_STRIDE, WIDTH // MASK_STRIDE])
        if segmentation == 'chosen':
            kinds['masks'] = TensorProto.INT64
    write_model(
        path,
        graph,
        {'images': [batch, 3, HEIGHT, WIDTH]},
        dict(zip(outputs, shapes, strict=True)),
        metadata,
        kinds,
    )
    (path.parent / 'labels.txt').write_text('\n'.join(labels) + '\n')
    return path


def write_identity(
    path: Path, inputs: dict[str, Sequence[int | str]], outputs: dict[str, Sequence[int | str]]
) -> Path:
    """Write a model that is valid ONNX and no YOLOX: its outputs are its input."""
    graph = Graph()
    for name in outputs:
        graph.add('Identity', [next(iter(inputs))], name)
    return write_model(path, graph, inputs, outputs)


def write_model(
    path: Path,
    graph: Graph,
    inputs: dict[str, Sequence[int | str]],
    outputs: dict[str, Sequence[int | str]],
    metadata: str | None = None,
    kinds: dict[str, int] | None = None,
) -> Path:
    """Write a graph of float32 tensors, but for those of other ``kinds``."""
    kinds = kinds or {}
    infos = [
        [
            helper.make_tensor_value_info(n, kinds.get(n, TensorProto.FLOAT), s)
            for n, s in tensors.items()
        ]
        for tensors in (inputs, outputs)
    ]
    model = helper.make_model(
        helper.make_graph(graph.nodes, 'tiny', *infos, graph.weights),
        opset_imports=[helper.make_opsetid('', 18)],
        ir_version=8,
    )
    if metadata is not None:
        helper.set_model_props(model, {'yolox_trt_ros': metadata})
    onnx.save(model, str(path))
    return path
