"""Models whose end is changed, and what a detector finds with them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from tiny_models import LABELS

from yolox_trt_ros.core.model import ModelSpec
from yolox_trt_ros.detector import Detector

STRIDES = (8, 16, 32)
CLASSES = len(LABELS)


class Edited:
    """A model whose outputs are changed, node by node."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.model = onnx.load(str(path))
        self.graph = self.model.graph
        (output,) = self.graph.output
        self.output = output.name
        self.shape = [d.dim_value or d.dim_param for d in output.type.tensor_type.shape.dim]

    def constant(self, value: np.ndarray) -> str:
        name = f'added_{len(self.graph.initializer)}'
        self.graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def add(self, kind: str, *inputs: str, outputs: int = 1, **attributes: object) -> str:
        names = [f'added_{kind}_{len(self.graph.node)}_{i}' for i in range(outputs)]
        self.graph.node.append(helper.make_node(kind, inputs, names, **attributes))
        return names[0]

    def ending(self, name: str, kind: int = TensorProto.FLOAT, shape: object = None) -> None:
        del self.graph.output[:]
        self.also(name, kind, shape)

    def also(self, name: str, kind: int = TensorProto.FLOAT, shape: object = None) -> None:
        self.graph.output.append(helper.make_tensor_value_info(name, kind, shape or self.shape))

    def columns(self, first: int, last: int) -> str:
        bounds = [self.constant(np.array([v])) for v in (first, last, 2)]
        return self.add('Slice', self.output, *bounds)

    @property
    def anchors(self) -> int:
        return int(self.shape[1])

    def grid(self) -> tuple[np.ndarray, np.ndarray]:
        (image,) = self.graph.input
        height, width = (d.dim_value for d in image.type.tensor_type.shape.dim[2:])
        cells, strides = [], []
        for s in STRIDES:
            y, x = np.mgrid[: height // s, : width // s]
            cells.append(np.stack((x.ravel(), y.ravel()), axis=1))
            strides.append(np.full((x.size, 1), s))
        return np.concatenate(cells)[None].astype('f4'), np.concatenate(strides)[None].astype('f4')


def in_place(m: Edited) -> None:
    """Write ``outputs[..., :2] = (… + grid) * stride; outputs[..., 2:4] = exp(…) * stride``."""
    grid, strides = map(m.constant, m.grid())
    centre = m.add('Mul', m.add('Add', m.columns(0, 2), grid), strides)
    size = m.add('Mul', m.add('Exp', m.columns(2, 4)), strides)
    last = m.output
    for first, value in ((0, centre), (2, size)):
        places = np.meshgrid([0], range(m.anchors), range(first, first + 2), indexing='ij')
        last = m.add('ScatterND', last, m.constant(np.stack(places, -1)), value)
    m.ending(last)


def unread_output(m: Edited) -> None:
    convolution = next(n for n in m.graph.node if n.op_type == 'Conv')
    m.also(m.add('GlobalMaxPool', convolution.output[0]), shape=['n', 'c', 1, 1])


def boxes(path: Path, labels: Path | None, image: np.ndarray) -> tuple[ModelSpec, np.ndarray]:
    with Detector(path, labels=labels or '', threads=2) as detect:
        d = detect(image)
    return detect.model.spec, np.column_stack((d.xyxy, d.score, d.class_id))


def same(a: np.ndarray, b: np.ndarray, tolerance: float = 0.5) -> bool:
    return (
        a.shape == b.shape
        and bool((a[:, 5] == b[:, 5]).all())
        and float(np.abs(a[:, :4] - b[:, :4]).max(initial=0)) < tolerance
        and float(np.abs(a[:, 4] - b[:, 4]).max(initial=0)) < 5e-3
    )
