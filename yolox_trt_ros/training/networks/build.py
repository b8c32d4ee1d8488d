"""The designs by name, and networks made of them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from yolox_trt_ros.core.errors import ConfigError, did_you_mean
from yolox_trt_ros.core.printing import shown
from yolox_trt_ros.training.networks.edge import EDGE_N, EDGE_S, Design, EdgeYolox
from yolox_trt_ros.training.networks.megvii import MegviiDesign, MegviiYolox

_SMALL = (416, 416)
_MEGVII = {
    'yolox_nano': MegviiDesign(0.33, 0.25, depthwise=True, size=_SMALL),
    'yolox_tiny': MegviiDesign(0.33, 0.375, size=_SMALL),
    'yolox_s': MegviiDesign(0.33, 0.50),
    'yolox_m': MegviiDesign(0.67, 0.75),
    'yolox_l': MegviiDesign(1.0, 1.0),
    'yolox_x': MegviiDesign(1.33, 1.25),
}
DLA = '_dla'
"""Ends the names of Megvii's networks made fit for a DLA."""
DESIGNS: dict[str, Design | MegviiDesign] = {
    'edge_n': EDGE_N,
    'edge_s': EDGE_S,
    **_MEGVII,
    **{
        f'{name}{DLA}': replace(design, act='relu6', stem='conv', pool='chained')
        for name, design in _MEGVII.items()
    },
}


class _NoValues(TorchFunctionMode):
    """Leaves out the filling of new weights, which takes seconds on the meta device."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = kwargs or {}
        if getattr(func, '__module__', '') == 'torch.nn.init':
            return args[0] if args else given['tensor']
        return func(*args, **given)


@dataclass(frozen=True)
class NetworkSpec:
    """What has to be known to make a network, and what it is called upon to find.

    Attributes:
        design: one of :data:`DESIGNS`.
        classes: names, by number.
        size: (height, width) of the input, multiples of 32.
        changes: to the design's fields.

    Raises:
        ConfigError: there is no such design or field, or the size is no multiple of 32.
    """

    design: str
    classes: tuple[str, ...]
    size: tuple[int, int]
    changes: Mapping[str, Any]

    def __post_init__(self) -> None:
        if self.design not in DESIGNS:
            raise ConfigError(
                f'design: {shown(self.design)} is unknown{did_you_mean(self.design, DESIGNS)}; '
                f'there are {", ".join(DESIGNS)}'
            )
        if any(side % 32 or side < 32 for side in self.size):
            height, width = self.size
            raise ConfigError(f'size: expected multiples of 32, got {width}x{height}')

    def build(self) -> nn.Module:
        """Return a network with new weights."""
        design = DESIGNS[self.design]
        try:
            changed: Any = replace(design, **self.changes)
        except TypeError as error:
            raise ConfigError(f'changes to the design {self.design}: {error}') from error
        if isinstance(changed, Design):
            return EdgeYolox(changed, len(self.classes))
        return MegviiYolox(changed, len(self.classes))

    def shapes(self) -> nn.Module:
        """Return a network without values, on PyTorch's meta device."""
        with torch.device('meta'), _NoValues():
            return self.build()

    def to_json(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {
            'design': self.design,
            'classes': list(self.classes),
            'size': list(self.size),
            'changes': json.loads(json.dumps(dict(self.changes))),
        }


def published_size(design: str) -> tuple[int, int]:
    """Return the (height, width) that a design is meant for.

    Raises:
        ConfigError: there is no such design.
    """
    NetworkSpec(design, (), (32, 32), {})
    found = DESIGNS[design]
    return (found.height, found.width) if isinstance(found, Design) else found.size


def spec_of(content: Mapping[str, Any]) -> NetworkSpec:
    """Return what :meth:`NetworkSpec.to_json` wrote."""
    height, width = content['size']
    classes: Sequence[str] = content['classes']
    changes = {k: tuple(v) if isinstance(v, list) else v for k, v in content['changes'].items()}
    return NetworkSpec(content['design'], tuple(classes), (int(height), int(width)), changes)
