"""Find a YOLOX head's prediction maps, and end the graph there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from yolox_trt_ros.core.errors import MissingDependencyError, ModelError
from yolox_trt_ros.core.head_maps import MapFacts, box_objectness_class

try:
    from onnxscript import ir
except ImportError as error:
    raise MissingDependencyError(
        'rewriting a model needs the package "onnxscript": pip install onnxscript'
    ) from error

PARTS = ('reg', 'obj', 'cls')


@dataclass(frozen=True, slots=True)
class CutMap:
    """One prediction map of the head.

    Attributes:
        name: as it is called after the cut: ``reg_8``, ``obj_8``, ``cls_8``, ``reg_16``, …
        original: the tensor's name in the model it comes from.
        stride: input pixels per cell.
    """

    name: str
    original: str
    stride: int


def find_head(model: ir.Model, named: Sequence[str] = ()) -> list[CutMap]:
    """Return the head's maps, finest level first, box, objectness and class of each in turn.

    They are the convolutions first met on the way back from the outputs. Channels tell box,
    objectness and class apart, see :mod:`core.head_maps`; where they do not, the order in which the
    graph joins them does.

    Args:
        model: any YOLOX.
        named: outputs that are known to be box, objectness and class of each level in turn.

    Raises:
        ModelError: these are not three maps a level with 4, 1 and equally many channels, or nothing
            tells which is which.
    """
    (image,) = [i for i in model.graph.inputs if i.name not in model.graph.initializers]
    height = _shape(image)[2]
    levels: dict[tuple[int, ...], list[ir.Value]] = {}
    for value in _last_convolutions(model.graph):
        levels.setdefault(_shape(value)[2:], []).append(value)
    maps = []
    for cells in sorted(levels, reverse=True):
        stride = height // cells[0]
        parts = _ordered(levels[cells], named, len(model.graph.outputs) == 1)
        if parts is None:
            raise ModelError(_describe(levels))
        maps += [
            CutMap(f'{part}_{stride}', str(value.name), stride)
            for part, value in zip(PARTS, parts, strict=True)
        ]
    classes = {channels for v in levels.values() for channels in (_shape(v[-1])[1],)}
    if not maps or len(classes) != 1:
        raise ModelError(_describe(levels))
    return maps


def cut_head(model: ir.Model, maps: list[CutMap]) -> None:
    """Make the maps the graph's outputs; what followed them falls away."""
    graph = model.graph
    values = {value.name: value for node in graph for value in node.outputs}
    taken = {m.name for m in maps} & set(values)
    for name in taken - {m.original for m in maps}:
        values[name].name = f'{name}_before'
    heads = [values[m.original] for m in maps]
    graph.outputs.clear()
    graph.outputs.extend(heads)
    for value, m in zip(heads, maps, strict=True):
        value.name = m.name


def _last_convolutions(graph: ir.Graph) -> Iterator[ir.Value]:
    seen: set[int] = set()
    waiting = list(reversed(graph.outputs))
    while waiting:
        value = waiting.pop()
        node = value.producer()
        if node is None or id(value) in seen:
            continue
        seen.add(id(value))
        if node.op_type == 'Conv':
            yield value
        else:
            waiting += [i for i in reversed(node.inputs) if i is not None]


def _ordered(values: list[ir.Value], named: Sequence[str], joined: bool) -> list[ir.Value] | None:
    """Return box, objectness and class map of a level, or None if these are no such maps."""
    channels = [_shape(v)[1] for v in values]
    places = box_objectness_class([_facts(value, named) for value in values])
    if places is None and sorted(channels) == [1, 4, 4]:
        if not joined:
            raise ModelError(
                f'nothing tells which of {", ".join(str(v.name) for v in values)} holds boxes and '
                'which scores: name the outputs in "outputs" of the YAML beside the model, box, '
                'objectness and class of each level'
            )
        # What is wrong here differs from the joined output, and is refused when both are compared.
        places = (0, 1, 2) if channels[1] == 1 else None
    return None if places is None else [values[i] for i in places]


def _facts(value: ir.Value, named: Sequence[str]) -> MapFacts:
    node = value.producer()
    assert node is not None
    read = [i.name for i in node.inputs if i is not None]
    names = [value.name, node.name, *read[1:]]
    if value.name in named:
        names = [PARTS[named.index(value.name) % 3]]
    return MapFacts(_shape(value)[1], str(read[0]), tuple(str(name) for name in names))


def _shape(value: ir.Value) -> tuple[int, ...]:
    dims = tuple(d if isinstance(d, int) else 0 for d in value.shape or ())
    if len(dims) != 4 or not all(dims):
        raise ModelError(
            f'tensor {value.name}: expected a map [batch, channels, height, width] of static '
            f'size, got {value.shape}'
        )
    return dims


def _describe(levels: dict[tuple[int, ...], list[ir.Value]]) -> str:
    found = ', '.join(f'{v.name} {list(_shape(v))}' for values in levels.values() for v in values)
    return (
        'not a YOLOX head: expected per stride three convolutions with 4, 1 and one channel per '
        f'class before the outputs, got {found or "none"}'
    )
