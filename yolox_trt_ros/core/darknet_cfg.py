"""Read darknet's ``.cfg``: the layers of a network, and what its ``[yolo]`` layers say of boxes.

The keys and what they mean are those of darknet's ``src/parser.c``
(https://github.com/AlexeyAB/darknet, public domain).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from yolox_trt_ros.core.darknet_sections import MOST_NUMBER, Section, read_sections
from yolox_trt_ros.core.errors import ModelError
from yolox_trt_ros.core.printing import one_line, shown

MOST_LAYERS = 4096
Shape = tuple[int, int, int]
"""Channels, height, width."""


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer.

    Attributes:
        section: what the file says of it.
        inputs: numbers of the layers that it reads; -1: the image.
        shape: of what it gives.
    """

    section: Section
    inputs: tuple[int, ...]
    shape: Shape


@dataclass(frozen=True, slots=True)
class YoloLayer:
    """What a ``[yolo]`` layer says of the boxes in the map before it.

    Attributes:
        map: number of the layer that gives the map.
        stride: input pixels per cell.
        anchors: width and height of each anchor box of a cell, input pixels.
        classes: how many.
        scale_x_y: by what the offset in the cell is stretched about its middle.
        new_coords: whether sizes are four times the square of a sigmoid, not exponentials.
    """

    map: int
    stride: int
    anchors: tuple[tuple[float, float], ...]
    classes: int
    scale_x_y: float
    new_coords: bool


@dataclass(frozen=True, slots=True)
class DarknetCfg:
    """A network.

    Attributes:
        input: shape of the image.
        letter_box: whether it keeps its aspect ratio in the input; else it is stretched over it.
        layers: in the order of the file.
        yolo: finest stride first.
    """

    input: Shape
    letter_box: bool
    layers: tuple[Layer, ...]
    yolo: tuple[YoloLayer, ...]

    def about(self) -> dict[str, object]:
        """Return what it says under the keys of a model's description."""
        return {
            'head': 'darknet',
            'classes': self.yolo[0].classes,
            'strides': [y.stride for y in self.yolo],
            'anchors': [n for y in self.yolo for pair in y.anchors for n in pair],
            'scale_x_y': [y.scale_x_y for y in self.yolo],
            'new_coords': self.yolo[0].new_coords,
            'letterbox': 'centre' if self.letter_box else 'stretch',
        }


def read_cfg(path: Path) -> DarknetCfg:
    """Return the network that a ``.cfg`` describes.

    Raises:
        ModelError: the file is missing, damaged, or of a network that is not read; says in which
            line and what was expected.
    """
    sections = read_sections(path)
    where = one_line(path)
    if not sections or sections[0].kind not in ('net', 'network'):
        raise ModelError(f'{where}: expected a darknet cfg that begins with [net]')
    net, own = sections[0], sections[1:]
    if len(own) > MOST_LAYERS:
        raise ModelError(f'{where}: expected at most {MOST_LAYERS} layers, got {len(own)}')
    image = (net.count('channels', 3), net.count('height', None), net.count('width', None))
    if image[0] != 3:
        raise ModelError(f'{net.where}: channels: expected 3, got {image[0]}')
    layers: list[Layer] = []
    for section in own:
        layers.append(_layer(section, layers, image))
    yolo = [_yolo(layer, layers, image) for layer in layers if layer.section.kind == 'yolo']
    if not yolo:
        raise ModelError(f'{where}: expected [yolo] layers, as YOLOv3 and v4 have, there is none')
    yolo.sort(key=lambda y: y.stride)
    if len({y.stride for y in yolo}) != len(yolo):
        raise ModelError(f'{where}: expected [yolo] layers of different strides, two have the same')
    alike = {(y.classes, y.new_coords, len(y.anchors)) for y in yolo}
    if len(alike) != 1:
        raise ModelError(
            f'{where}: its [yolo] layers differ in classes, new_coords or number of anchors, '
            'expected all alike'
        )
    return DarknetCfg(image, bool(net.number('letter_box', 0)), tuple(layers), tuple(yolo))


_NOT_READ = {
    'convolutional': (
        'antialiasing', 'assisted_excitation', 'binary', 'deform', 'flipped', 'rotate',
        'share_index', 'stretch', 'stretch_sway', 'stride_x', 'stride_y', 'sway', 'xnor',
    ),
    'maxpool': ('antialiasing', 'maxpool_depth', 'stride_x', 'stride_y'),
    'shortcut': ('weights_type', 'weights_normalization', 'weights_normalizion'),
}  # fmt: skip
"""Options that change what a layer computes; "none" and 0 stand for not having them."""


def _layer(section: Section, layers: list[Layer], image: Shape) -> Layer:
    kind = section.kind
    if kind not in _SHAPES:
        raise ModelError(
            f'{section.where}: expected one of the layers of YOLOv3 and v4 ({", ".join(_SHAPES)})'
        )
    for key in _NOT_READ.get(kind, ()):
        if section.text(key, '0') not in ('0', 'none'):
            raise ModelError(f'{section.where}: {key}: expected none, for it is not read')
    if kind == 'route':
        inputs = _named(section, 'layers', len(layers))
    elif kind == 'shortcut':
        inputs = (len(layers) - 1, *_named(section, 'from', len(layers)))
    else:
        inputs = (len(layers) - 1,)
    if any(i >= 0 and layers[i].section.kind == 'yolo' for i in inputs):
        raise ModelError(f'{section.where}: reads what [yolo] gives, which nothing after it does')
    shapes = [layers[i].shape if i >= 0 else image for i in inputs]
    shape = _SHAPES[kind](section, shapes)
    if not all(1 <= n <= MOST_NUMBER for n in shape):
        raise ModelError(f'{section.where}: gives {list(shape)}, expected a channel and a cell')
    return Layer(section, inputs, shape)


def _named(section: Section, key: str, own: int) -> tuple[int, ...]:
    """Return the layers that an option names, by number or by how far they are before this."""
    if not (given := section.numbers(key, '')):
        raise ModelError(f'{section.where}: {key}: expected numbers of layers, there are none')
    found = [int(n + own if n < 0 else n) for n in given]
    if any(n != int(n) for n in given) or not all(0 <= n < own for n in found):
        raise ModelError(
            f'{section.where}: {key}: expected numbers of layers before it, which are 0 to '
            f'{own - 1} or -{own} to -1, got {shown(section.options[key])}'
        )
    return tuple(found)


def padding(section: Section) -> int:
    """Return the border that a convolution adds on each side."""
    if section.number('pad', 0):
        return section.count('size', 1) // 2
    return section.count('padding', 0, least=0)


def _convolved(section: Section, shapes: list[Shape]) -> Shape:
    channels, height, width = shapes[0]
    filters, groups = section.count('filters', 1), section.count('groups', 1)
    if channels % groups or filters % groups:
        raise ModelError(
            f'{section.where}: groups: expected a divisor of its {channels} channels and '
            f'{filters} filters, got {groups}'
        )
    stride, reach = section.count('stride', 1), section.count('dilation', 1)
    more = 2 * padding(section) - reach * (section.count('size', 1) - 1) - 1
    return filters, (height + more) // stride + 1, (width + more) // stride + 1


def pool_padding(section: Section) -> int:
    """Return the border that a pool adds on both sides together; the larger half comes last."""
    return section.count('padding', section.count('size', section.count('stride', 1)) - 1, least=0)


def _pooled(section: Section, shapes: list[Shape]) -> Shape:
    channels, height, width = shapes[0]
    stride = section.count('stride', 1)
    more = pool_padding(section) - section.count('size', stride)
    return channels, (height + more) // stride + 1, (width + more) // stride + 1


def _upsampled(section: Section, shapes: list[Shape]) -> Shape:
    channels, height, width = shapes[0]
    stride = section.count('stride', 2)
    if section.number('scale', 1) != 1:
        raise ModelError(f'{section.where}: scale: expected 1, for no other is read')
    return channels, height * stride, width * stride


def _routed(section: Section, shapes: list[Shape]) -> Shape:
    groups, group = section.count('groups', 1), section.count('group_id', 0, least=0)
    if len({s[1:] for s in shapes}) != 1:
        raise ModelError(
            f'{section.where}: expected layers of one size, got {[list(s) for s in shapes]}'
        )
    if group >= groups or any(s[0] % groups for s in shapes):
        raise ModelError(
            f'{section.where}: expected channels that {groups} groups share, and one of them in '
            f'group_id, got {[s[0] for s in shapes]} channels and {group}'
        )
    return (sum(s[0] // groups for s in shapes), *shapes[0][1:])


def _added(section: Section, shapes: list[Shape]) -> Shape:
    if len(set(shapes)) != 1:
        raise ModelError(
            f'{section.where}: expected layers of one shape, got {[list(s) for s in shapes]}'
        )
    return shapes[0]


def _same(section: Section, shapes: list[Shape]) -> Shape:
    return shapes[0]


_SHAPES: Mapping[str, Callable[[Section, list[Shape]], Shape]] = {
    'convolutional': _convolved,
    'maxpool': _pooled,
    'upsample': _upsampled,
    'route': _routed,
    'shortcut': _added,
    'dropout': _same,
    'yolo': _same,
}


def _yolo(layer: Layer, layers: list[Layer], image: Shape) -> YoloLayer:
    section, (channels, height, width) = layer.section, layer.shape
    numbers = section.numbers('anchors', '')
    pairs = list(zip(numbers[::2], numbers[1::2], strict=False))
    mask = section.numbers('mask', ','.join(map(str, range(len(pairs)))))
    if not pairs or len(numbers) % 2 or min(numbers) <= 0:
        raise ModelError(
            f'{section.where}: anchors: expected widths and heights, got {len(numbers)} numbers'
        )
    if section.count('num', len(pairs)) != len(pairs):
        raise ModelError(
            f'{section.where}: num: expected the {len(pairs)} of its anchors, got '
            f'{section.options["num"]}'
        )
    if any(n != int(n) or not 0 <= n < len(pairs) for n in mask) or not mask:
        raise ModelError(
            f'{section.where}: mask: expected numbers of its {len(pairs)} anchors, from 0, got '
            f'{shown(section.options.get("mask"))}'
        )
    classes, scale = section.count('classes', 20), section.number('scale_x_y', 1)
    if channels != len(mask) * (5 + classes):
        raise ModelError(
            f'{section.where}: expected a map of {len(mask)} × (5 + {classes}) channels before it, '
            f'got {channels}'
        )
    if not 1 <= scale <= 4:
        raise ModelError(f'{section.where}: scale_x_y: expected 1 to 4, got {scale:g}')
    stride = image[1] // height
    if (height * stride, width * stride) != image[1:]:
        raise ModelError(
            f'{section.where}: its {width}x{height} cells do not fit the input of '
            f'{image[2]}x{image[1]}: width and height have to be multiples of the stride'
        )
    anchors = tuple(pairs[int(n)] for n in mask)
    new = bool(section.number('new_coords', 0))
    return YoloLayer(layer.inputs[0], stride, anchors, classes, scale, new)
