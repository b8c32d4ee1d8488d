"""YOLOX of any size with random weights, as Megvii's exporter writes it: SiLU, Focus, SPP."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from yolox_trt_ros.core.head import HeadCut
from yolox_trt_ros.detect.model import head_cut
from yolox_trt_ros.engine.onnx_run import OnnxRun

SIZES = {'nano': (0.33, 0.25), 'tiny': (0.33, 0.375), 's': (0.33, 0.5), 'm': (0.67, 0.75)}
"""Depth and width of Megvii's variants; here all with plain convolutions."""
PATCHES = ((0, 0), (1, 0), (0, 1), (1, 1))


@dataclass
class Builder:
    """Collects nodes and weights of a network.

    ``resize`` is how the upsampling is written: by ``scales``, by ``sizes``, or by scales and with
    PyTorch's ``half_pixel`` coordinates; ``order`` is that of the Focus patches.
    """

    rng: np.random.Generator
    act: str = 'silu'
    resize: str = 'scales'
    order: Sequence[tuple[int, int]] = PATCHES
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    weights: list[onnx.TensorProto] = field(default_factory=list)
    channels: dict[str, int] = field(default_factory=dict)

    def constant(self, value: np.ndarray) -> str:
        name = f'c{len(self.weights)}'
        self.weights.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def add(self, kind: str, *inputs: str, channels: int = 0, **attributes: object) -> str:
        name = f't{len(self.nodes)}'
        self.nodes.append(
            helper.make_node(kind, list(inputs), [name], f'{kind}_{name}', **attributes)
        )
        self.channels[name] = channels or self.channels.get(inputs[0], 0)
        return name

    def plain(self, x: str, outputs: int, size: int, stride: int = 1) -> str:
        inputs = self.channels[x]
        spread = np.sqrt(2 / (inputs * size * size))
        weight = self.rng.normal(0, spread, (outputs, inputs, size, size)).astype(np.float32)
        offset = self.rng.normal(0, 0.1, outputs).astype(np.float32)
        return self.add(
            'Conv', x, self.constant(weight), self.constant(offset), channels=outputs,
            kernel_shape=[size] * 2, strides=[stride] * 2, pads=[size // 2] * 4,
            dilations=[1, 1], group=1,
        )  # fmt: skip

    def conv(self, x: str, outputs: int, size: int, stride: int = 1) -> str:
        y = self.plain(x, outputs, size, stride)
        if self.act == 'relu6':
            return self.add('Clip', y, self.constant(np.float32(0)), self.constant(np.float32(6)))
        return self.add('Mul', y, self.add('Sigmoid', y))

    def concat(self, *parts: str) -> str:
        return self.add('Concat', *parts, axis=1, channels=sum(self.channels[p] for p in parts))

    def focus(self, image: str, outputs: int) -> str:
        patches = []
        for row, column in self.order:
            x = image
            for axis, start in ((2, row), (3, column)):
                bounds = [self.constant(np.array([v])) for v in (start, 2**62, axis, 2)]
                x = self.add('Slice', x, *bounds)
            patches.append(x)
        return self.conv(self.concat(*patches), outputs, 3)

    def csp(self, x: str, outputs: int, count: int, shortcut: bool) -> str:
        hidden = outputs // 2
        left, right = self.conv(x, hidden, 1), self.conv(x, hidden, 1)
        for _ in range(count):
            y = self.conv(self.conv(left, hidden, 1), hidden, 3)
            left = self.add('Add', y, left) if shortcut else y
        return self.conv(self.concat(left, right), outputs, 1)

    def spp(self, x: str, outputs: int) -> str:
        x = self.conv(x, outputs // 2, 1)
        pools = [
            self.add('MaxPool', x, kernel_shape=[k] * 2, pads=[k // 2] * 4, strides=[1, 1])
            for k in (5, 9, 13)
        ]
        return self.conv(self.concat(x, *pools), outputs, 1)

    def upsample(self, x: str, rows_and_columns: tuple[int, int]) -> str:
        empty = self.constant(np.zeros(0, np.float32))
        how = {'mode': 'nearest', 'coordinate_transformation_mode': 'asymmetric'}
        if self.resize == 'half_pixel':
            how |= {'coordinate_transformation_mode': 'half_pixel'}
            how |= {'nearest_mode': 'round_prefer_floor'}
        else:
            how |= {'nearest_mode': 'floor'}
        if self.resize == 'sizes':
            size = np.array([1, self.channels[x], *rows_and_columns])
            return self.add('Resize', x, empty, empty, self.constant(size), **how)
        scales = self.constant(np.array([1, 1, 2, 2], np.float32))
        return self.add('Resize', x, empty, scales, **how)


def write_yolox(
    path: Path,
    size: str = 's',
    *,
    height: int = 160,
    width: int = 192,
    classes: int = 3,
    act: str = 'silu',
    decoded: bool = False,
    sigmoid: bool = True,
    resize: str = 'scales',
    order: Sequence[tuple[int, int]] = PATCHES,
    dims: Sequence[int | str] | None = None,
    opset: int = 11,
) -> Path:
    """Write a YOLOX of a named size; weights depend on nothing but the shape."""
    depth, factor = SIZES[size]
    b = Builder(np.random.default_rng(1), act, resize, order)
    b.channels['images'] = 3
    blocks = max(1, round(3 * depth))
    maps = _neck(b, _backbone(b, int(64 * factor), blocks), (height, width), blocks)
    levels = [_head(b, m, int(256 * factor), classes, sigmoid) for m in maps]
    outputs = _joined(b, levels, (height, width), classes, decoded)
    cells = sum((height // s) * (width // s) for s in (8, 16, 32))
    shape = list(dims or [1, 3, height, width])
    graph = helper.make_graph(
        b.nodes,
        'yolox',
        [helper.make_tensor_value_info('images', TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(outputs, TensorProto.FLOAT, [shape[0], cells, 5 + classes])],
        b.weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid('', opset)], ir_version=7)
    _scale_predictions(model, (1, 3, height, width))
    onnx.checker.check_model(model)
    onnx.save(model, str(path))
    labels = [f'class {i}' for i in range(classes)]
    (path.parent / 'labels.txt').write_text('\n'.join(labels) + '\n')
    return path


def _scale_predictions(model: onnx.ModelProto, shape: tuple[int, ...]) -> None:
    """Give boxes and scores the spread of a trained model's, on random pictures."""
    convolutions = [n for n in model.graph.node if n.op_type == 'Conv']
    heads = [n for n in convolutions if not any(_activates(m, n) for m in model.graph.node)]
    picture = np.random.default_rng(0).uniform(0, 255, shape).astype(np.float32)
    maps = OnnxRun(model, [n.output[0] for n in heads])(picture)
    weights = {w.name: w for w in model.graph.initializer}
    for node in heads:
        found, (_, kernel, bias) = maps[node.output[0]], node.input
        # Boxes some cells large; scores from nearly 0 to nearly 1, few of them high.
        spread, middle = (0.4, 0.5) if found.shape[1] == 4 else (2.0, -2.0)
        factor = spread / found.std()
        for name, change in ((kernel, 0.0), (bias, middle - float(found.mean()) * factor)):
            value = numpy_helper.to_array(weights[name]) * factor + change
            weights[name].CopyFrom(numpy_helper.from_array(value.astype(np.float32), name))


def _activates(node: onnx.NodeProto, conv: onnx.NodeProto) -> bool:
    return node.op_type in ('Mul', 'Clip') and conv.output[0] in node.input


def _backbone(b: Builder, base: int, depth: int) -> tuple[str, str, str]:
    x = b.focus('images', base)
    x = b.csp(b.conv(x, 2 * base, 3, 2), 2 * base, depth, True)
    x = c3 = b.csp(b.conv(x, 4 * base, 3, 2), 4 * base, 3 * depth, True)
    x = c4 = b.csp(b.conv(x, 8 * base, 3, 2), 8 * base, 3 * depth, True)
    x = b.spp(b.conv(x, 16 * base, 3, 2), 16 * base)
    return c3, c4, b.csp(x, 16 * base, depth, False)


def _neck(b: Builder, maps: tuple[str, str, str], size: tuple[int, int], depth: int) -> list[str]:
    c3, c4, c5 = maps
    n3, n4, n5 = (b.channels[m] for m in maps)
    f5 = b.conv(c5, n4, 1)
    p4 = b.concat(b.upsample(f5, (size[0] // 16, size[1] // 16)), c4)
    f4 = b.conv(b.csp(p4, n4, depth, False), n3, 1)
    p3 = b.concat(b.upsample(f4, (size[0] // 8, size[1] // 8)), c3)
    out3 = b.csp(p3, n3, depth, False)
    out4 = b.csp(b.concat(b.conv(out3, n3, 3, 2), f4), n4, depth, False)
    return [out3, out4, b.csp(b.concat(b.conv(out4, n4, 3, 2), f5), n5, depth, False)]


def _head(b: Builder, x: str, width: int, classes: int, sigmoid: bool) -> tuple[str, str, str]:
    x = b.conv(x, width, 1)
    scores, boxes = (b.conv(b.conv(x, width, 3), width, 3) for _ in range(2))
    reg, obj = b.plain(boxes, 4, 1), b.plain(boxes, 1, 1)
    cls = b.plain(scores, classes, 1)
    return reg, *((b.add('Sigmoid', m) if sigmoid else m) for m in (obj, cls))  # type: ignore[return-value]


def _joined(
    b: Builder,
    levels: Sequence[Sequence[str]],
    size: tuple[int, int],
    classes: int,
    decoded: bool,
) -> str:
    shape = b.constant(np.array([0, 5 + classes, -1]))
    flat = [b.add('Reshape', b.concat(*level), shape) for level in levels]
    y = b.add('Transpose', b.add('Concat', *flat, axis=2), perm=[0, 2, 1])
    if not decoded:
        return y
    cells, strides = [], []
    for stride in (8, 16, 32):
        rows, columns = np.mgrid[: size[0] // stride, : size[1] // stride].astype(np.float32)
        cells.append(np.stack((columns.ravel(), rows.ravel()), 1))
        strides.append(np.full((columns.size, 1), stride, np.float32))
    cell, scale = b.constant(np.concatenate(cells)[None]), b.constant(np.concatenate(strides)[None])
    part = {
        name: b.add('Slice', y, *(b.constant(np.array([v])) for v in (start, end, 2, 1)))
        for name, start, end in (('xy', 0, 2), ('wh', 2, 4), ('rest', 4, 2**62))
    }
    centre = b.add('Mul', b.add('Add', part['xy'], cell), scale)
    extent = b.add('Mul', b.add('Exp', part['wh']), scale)
    return b.add('Concat', centre, extent, part['rest'], axis=2)


def cut(model: onnx.ModelProto) -> HeadCut:
    """Return the head's maps of a model of which nothing else is said."""
    return head_cut(Path('m.onnx'), model, {})
