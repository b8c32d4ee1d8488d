"""Which outputs are a head, and which of them boxes and which scores."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from edited_models import STRIDES, Edited, boxes, same, unread_output
from tiny_models import HEIGHT, WIDTH, Graph, head, write_model, write_yolox

from yolox_trt_ros.core.errors import ModelError
from yolox_trt_ros.detect.model import load_model_spec


def three_maps(path: Path, order: Sequence[int], names: Sequence[str], sigmoid: bool) -> Path:
    """Write a model of four classes whose maps stand in another order."""
    graph = Graph()
    outputs: dict[str, list[int | str]] = {}
    for stride in STRIDES:
        maps = head(graph, 'images', stride, 4, 0)
        for place in order:
            name = f'{names[place]}_{stride}'
            kind = 'Sigmoid' if sigmoid and place else 'Identity'
            graph.add(kind, [maps[place]], name)
            outputs[name] = [1, (4, 1, 4)[place], HEIGHT // stride, WIDTH // stride]
    for node in graph.nodes:  # names that say nothing
        for i, name in enumerate(node.input):
            node.input[i] = name.replace('box', 'p').replace('class', 'q')
        if node.op_type == 'Conv':
            node.output[0] = node.output[0].replace('box', 'p').replace('class', 'q')
    for weight in graph.weights:
        weight.name = weight.name.replace('box', 'p').replace('class', 'q')
    (path.parent / 'labels.txt').write_text('a\nb\nc\nd\n')
    return write_model(path, graph, {'images': [1, 3, HEIGHT, WIDTH]}, outputs)


@pytest.mark.parametrize('order', [(0, 1, 2), (2, 0, 1), (1, 2, 0), (2, 1, 0)])
def test_maps_of_four_classes(tmp_path: Path, picture: np.ndarray, order: Sequence[int]) -> None:
    plain = three_maps(tmp_path / 'plain.onnx', (0, 1, 2), ('reg', 'obj', 'cls'), False)
    _, expected = boxes(plain, None, picture)
    for i, (names, sigmoid) in enumerate((('xyz', True), (('bbox', 'obj', 'cls'), False))):
        path = three_maps(tmp_path / f'{i}.onnx', order, names, sigmoid)
        assert same(expected, boxes(path, None, picture)[1])
    path = three_maps(tmp_path / 'm.onnx', order, 'xyz', False)
    with pytest.raises(ModelError, match=r'nothing shows which of .*name all outputs in "outputs"'):
        load_model_spec(path)
    listed = ', '.join(f'{name}_{stride}' for stride in STRIDES for name in 'xyz')
    path.with_suffix('.yaml').write_text(f'outputs: [{listed}]')
    assert same(expected, boxes(path, None, picture)[1])


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('outputs: [outptu]', 'is none of its outputs — did you mean "output"'),
        ('outputs: [output, output]', 'expected one, or box, objectness and class'),
        ('outputs: output', 'outputs: expected list'),
    ],
)
def test_bad_outputs_key(tmp_path: Path, text: str, message: str) -> None:
    path = write_yolox(tmp_path / 'm.onnx')
    path.with_suffix('.yaml').write_text(text)
    with pytest.raises(ModelError, match=message):
        load_model_spec(path)


def test_left_out_outputs_are_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    m = Edited(write_yolox(tmp_path / 'm.onnx', batch=1))
    unread_output(m)
    onnx.save(m.model, str(m.path))
    spec = load_model_spec(m.path)
    assert len(spec.left_out) == 1
    assert f'its outputs {spec.left_out[0]} are left out' in caplog.text
