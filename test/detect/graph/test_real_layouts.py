"""A trained YOLOX, exported as people export it, finds the same in every photograph."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import onnx
import onnxruntime as ort
import pytest
from edited_models import STRIDES, Edited, in_place
from matching import differences

from yolox_trt_ros.core.frame import Frame
from yolox_trt_ros.core.model import Letterbox, ModelSpec, Thresholds
from yolox_trt_ros.detect.cpu.postprocess import CpuPostprocessor
from yolox_trt_ros.detect.cpu.preprocess import CpuPreprocessor
from yolox_trt_ros.detect.model import load_model_spec

SCORE, IOU = 0.3, 0.45
CLASSES = 80


def nine_maps(m: Edited) -> list[tuple[str, str, str]]:
    """Return box, objectness and class convolutions of each stride."""
    made = {name: node for node in m.graph.node for name in node.output}
    levels = [n for n in m.graph.node if n.op_type == 'Concat' and len(n.input) == 3]
    maps = []
    for level in levels:
        box, *scores = level.input
        if made[box].op_type == 'Conv':
            maps.append((box, *(made[name].input[0] for name in scores)))
    return maps


def ends_in(m: Edited, names: Sequence[str], channels: Sequence[int], sides: Sequence[int]) -> None:
    del m.graph.output[:]
    for name, depth, side in zip(names, channels, sides, strict=True):
        m.also(name, shape=[1, depth, side, side])


SIDES = [416 // stride for stride in STRIDES]


def one_map_a_stride(m: Edited) -> None:
    levels = [n for n in m.graph.node if n.op_type == 'Concat' and len(n.input) == 3]
    names = [n.output[0] for n in levels if n.output[0] != m.graph.node[-1].input[0]]
    ends_in(m, names[:3], [5 + CLASSES] * 3, SIDES)


def three_maps_a_stride(m: Edited) -> None:
    names = [name for level in nine_maps(m) for name in level]
    ends_in(m, names, [4, 1, CLASSES] * 3, np.repeat(SIDES, 3).tolist())


def in_order_of_mmdetection(m: Edited) -> None:
    boxes, objectness, classes = zip(*nine_maps(m), strict=True)
    channels = np.repeat([CLASSES, 4, 1], 3).tolist()
    ends_in(m, [*classes, *boxes, *objectness], channels, SIDES * 3)


def without_an_axis_for_the_batch(m: Edited) -> None:
    m.ending(m.add('Reshape', m.output, m.constant(np.array([-1, 5 + CLASSES]))), shape=m.shape[1:])


def suppressed_inside(m: Edited) -> None:
    """Decode, suppress with ONNX's own operator, and give rows of image, corners, class, score."""
    in_place(m)
    m.output = m.graph.output[0].name
    half = m.add('Mul', m.columns(2, 4), m.constant(np.float32(0.5)))
    centre = m.columns(0, 2)
    corners = m.add('Concat', m.add('Sub', centre, half), m.add('Add', centre, half), axis=2)
    scores = m.add('Mul', m.columns(4, 5), m.columns(5, 5 + CLASSES))
    by_class = m.add('Transpose', scores, perm=[0, 2, 1])
    limits = (np.array([300]), np.float32([IOU]), np.float32([SCORE]))
    kept = m.add('NonMaxSuppression', corners, by_class, *map(m.constant, limits))

    def part(first: int) -> str:
        bounds = [m.constant(np.array([v])) for v in (first, first + 1, 1)]
        return m.add('Slice', kept, *bounds)

    image, class_id, anchor = map(part, range(3))
    boxes = m.add('GatherND', corners, m.add('Concat', image, anchor, axis=1))
    best = m.add('Reshape', m.add('GatherND', by_class, kept), m.constant(np.array([-1, 1])))
    numbers = [m.add('Cast', name, to=1) for name in (image, class_id)]
    rows = m.add('Concat', numbers[0], boxes, numbers[1], best, axis=1)
    m.ending(rows, shape=['found', 7])


FORMS = (
    in_place, one_map_a_stride, three_maps_a_stride, in_order_of_mmdetection,
    without_an_axis_for_the_batch, suppressed_inside,
)  # fmt: skip


@pytest.fixture(scope='module')
def specs(real: Path, tmp_path_factory: pytest.TempPathFactory) -> list[ModelSpec]:
    """Return what is read of the model as it is, and of each form in a file of its own."""
    folder, labels = tmp_path_factory.mktemp('forms'), real / 'coco_classes.txt'
    found = [load_model_spec(real / 'yolox_nano_coco.onnx', labels)]
    for form in FORMS:
        m = Edited(real / 'yolox_nano_coco.onnx')
        form(m)
        path = folder / f'{form.__name__}.onnx'
        onnx.save(m.model, str(path))
        spec = load_model_spec(path, labels)
        places = [o.name for o in m.graph.output]
        # Their order in the file: names differ in the model of all forms.
        order = tuple(str(places.index(name)) for name in spec.head.outputs)
        found.append(replace(spec, head=replace(spec.head, outputs=order)))
    return found


@pytest.fixture(scope='module')
def outputs(real: Path, specs: list[ModelSpec]) -> list[tuple[Letterbox, list[list[np.ndarray]]]]:
    """Return where each photograph lies in the input, and the outputs of all forms.

    The network is common to the forms, and runs once for each photograph.
    """
    m = Edited(real / 'yolox_nano_coco.onnx')
    names, all_outputs, original = [[m.output]], [*m.graph.output], m.output
    for form, spec in zip(FORMS, specs[1:], strict=True):
        m.output = original
        form(m)
        own = [*m.graph.output]
        names.append([own[int(place)].name for place in spec.head.outputs])
        all_outputs += own
    del m.graph.output[:]
    m.graph.output.extend({output.name: output for output in all_outputs}.values())
    options = ort.SessionOptions()
    options.intra_op_num_threads = 2
    session = ort.InferenceSession(
        m.model.SerializeToString(), options, providers=['CPUExecutionProvider']
    )
    preprocessor, found = CpuPreprocessor(specs[0].input), []
    target = preprocessor.new_input(1)
    wanted = [name for form in names for name in form]
    for file in sorted((real / 'images').iterdir()):
        box = preprocessor.write(Frame.of(cv2.imread(str(file))), target[0])
        values = dict(zip(wanted, session.run(wanted, {'images': target}), strict=True))
        found.append((box, [[values[name] for name in form] for form in names]))
    return found


@pytest.mark.parametrize('index', range(1, len(FORMS) + 1), ids=[f.__name__ for f in FORMS])
def test_every_form_finds_the_same_in_every_photograph(
    index: int,
    specs: list[ModelSpec],
    outputs: list[tuple[Letterbox, list[list[np.ndarray]]]],
) -> None:
    assert specs[index].input == replace(specs[0].input, batch=specs[index].input.batch)
    limits = Thresholds(SCORE, IOU)
    first, form = (CpuPostprocessor(specs[i]) for i in (0, index))
    wrong, total = [], 0
    for box, values in outputs:
        form.check(values[index], 1)
        expected, found = (
            np.column_stack((d.xyxy, d.score, d.class_id)).tolist()
            for d in (
                first.detections(values[0], 0, box, limits),
                form.detections(values[index], 0, box, limits),
            )
        )
        total += len(expected)
        wrong += differences(found, expected)
    assert wrong == []
    assert len(outputs) == 50 and total > 150
