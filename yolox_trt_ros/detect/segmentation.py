"""Find out which further output of a detector holds class masks, and what it means."""

from __future__ import annotations

from collections.abc import Sequence

from yolox_trt_ros.core.errors import ModelError, did_you_mean
from yolox_trt_ros.core.head import HeadSpec
from yolox_trt_ros.core.printing import shown
from yolox_trt_ros.core.segmentation import MOST_CLASSES, SegmentationSpec
from yolox_trt_ros.detect.description import NO_SEGMENTATION
from yolox_trt_ros.detect.graph.model_graph import ModelGraph

FAMILIES = ('yolox',)
"""Whose further outputs are taken for class masks if they look like some. Others give maps that
look alike and are none (YOLOv8's prototypes, the masks of RF-DETR's queries)."""

PASSING = {'Cast', 'Identity', 'Reshape', 'Squeeze', 'Unsqueeze'}
"""Operators that leave numbers of classes what they are."""


class NoMasksError(Exception):
    """An output holds no class masks; the message says what it is."""


def segmentation_of(graph: ModelGraph, head: HeadSpec) -> SegmentationSpec | None:
    """Return what a model's class masks are read from; None: it has none.

    An output is taken for class masks that is a map of the whole input, with a score for each of
    several classes or with the class that the graph's ArgMax has chosen, if it is the only one.
    The key ``segmentation`` of the description names another one, or says that there is none.

    Raises:
        ModelError: the description names an output that holds no class masks, or as many labels as
            it has no classes.
    """
    named = graph.given.get('segmentation')
    further = [name for name in graph.all_outputs() if name not in head.outputs]
    if named == NO_SEGMENTATION:
        return None
    if named is not None:
        if named not in further:
            raise ModelError(
                f'{graph.path}: segmentation: expected a further output of the model '
                f'({", ".join(further) or "there is none"}), got {shown(named)}'
                f'{did_you_mean(named, further)}'
            )
        try:
            return _spec(graph, named, trusted=True)
        except NoMasksError as error:
            raise ModelError(f'{graph.path}: segmentation: {named} {error}') from None
    if head.family not in FAMILIES:
        return None
    found = _candidates(graph, further)
    return found[0] if len(found) == 1 else None


def _candidates(graph: ModelGraph, names: Sequence[str]) -> list[SegmentationSpec]:
    found = []
    for name in names:
        try:
            found.append(_spec(graph, name, trusted=False))
        except NoMasksError:
            continue
    return found


def _spec(graph: ModelGraph, name: str, *, trusted: bool) -> SegmentationSpec:
    """Return what an output means.

    Args:
        graph: the model.
        name: of the output.
        trusted: whether somebody said that it is a class mask, so that floats of one channel are
            numbers of classes, whatever computes them.
    """
    shape, kind = graph.all_outputs()[name], _type_of(graph, name)
    map_shape = tuple(shape[1:])
    if len(map_shape) not in (2, 3) or 0 in map_shape:
        raise NoMasksError(f'{list(shape)}: expected [batch, classes, height, width]')
    image, (height, width) = graph.input, map_shape[-2:]
    stride = image.height // height
    if stride < 1 or (height * stride, width * stride) != (image.height, image.width):
        raise NoMasksError(
            f'{list(shape)}: expected a map of the whole input of {image.height}x{image.width}'
        )
    several = len(map_shape) == 3 and map_shape[0] > 1
    integers = kind if kind in ('int32', 'int64', 'uint8') else ''
    if kind not in ('float32', 'float16') and (several or not integers):
        raise NoMasksError(f'is {kind}: expected scores in float32 or float16, or class numbers')
    if several and map_shape[0] > MOST_CLASSES:
        raise NoMasksError(f'has {map_shape[0]} channels: expected at most {MOST_CLASSES} classes')
    if not (several or integers or trusted or _chosen(graph, name)):
        raise NoMasksError('has one channel that no ArgMax made')
    labels = tuple(graph.given.get('segmentation_labels', ()))
    if labels and several and len(labels) != map_shape[0]:
        raise ModelError(
            f'{graph.path}: segmentation_labels: expected {map_shape[0]} names, one for each '
            f'channel of {name}, got {len(labels)}'
        )
    if len(labels) > MOST_CLASSES:
        raise ModelError(
            f'{graph.path}: segmentation_labels: expected at most {MOST_CLASSES} names, got '
            f'{len(labels)}'
        )
    return SegmentationSpec(name, map_shape, stride, not several, integers, labels)


def _type_of(graph: ModelGraph, name: str) -> str:
    import onnx

    number = next(o for o in graph.model.graph.output if o.name == name).type.tensor_type.elem_type
    kinds = onnx.TensorProto.DataType
    known = {kinds.FLOAT: 'float32', kinds.FLOAT16: 'float16'}
    return known.get(number) or kinds.Name(number).lower()


def _chosen(graph: ModelGraph, name: str) -> bool:
    """Return whether an ArgMax made an output."""
    makers = {output: node for node in graph.model.graph.node for output in node.output}
    while (node := makers.get(name)) is not None and node.op_type in PASSING:
        name = node.input[0]
    return node is not None and node.op_type == 'ArgMax'
