"""What a model's inputs beside the image get: the same numbers for every image.

Exports that scale boxes themselves ask for the image's size. They are told that of the network's
own input, so that boxes come out in its pixels, as with all models, and go from there to the
image. A graph that makes something else of it is found out by what its end computes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from yolox_trt_ros.core.errors import ModelError
from yolox_trt_ros.core.model import FurtherInput
from yolox_trt_ros.detect.description import sidecar_of

_KNOWN: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        'orig_target_sizes': ('width', 'height'),
        'im_shape': ('height', 'width'),
        'scale_factor': ('one', 'one'),
    }
)
"""By name: of RT-DETR's and D-FINE's exports (``tools/export_onnx.py`` and ``PostProcessor`` of
lyuwenyu/RT-DETR), and of PaddleDetection's (``PPYOLOEHead.post_process``, ``DETRPostProcess``)."""

TYPES = ('float32', 'float16', 'float64', 'int32', 'int64', 'uint8')


def further_inputs(
    path: Path,
    inputs: Sequence[Any],
    given: Mapping[str, Any],
    image: Sequence[int],
) -> tuple[FurtherInput, ...]:
    """Return what is fed to inputs beside the image.

    Args:
        path: the model's file, for messages.
        inputs: ``ValueInfoProto`` of each.
        given: what the model's description says.
        image: shape of the image's input, its batch 0 where that is open.

    Raises:
        ModelError: nothing says what one of them gets, or it does not fit there.
    """
    named = given.get('inputs', {})
    names = [value.name for value in inputs]
    if unknown := [name for name in named if name not in names]:
        raise ModelError(
            f'{path}: inputs: it has no input {", ".join(map(str, unknown))} beside the image, but '
            f'{", ".join(names) or "none"}'
        )
    sizes = {'height': image[2], 'width': image[3], 'one': 1}
    return tuple(_input(path, value, named, sizes, image[0]) for value in inputs)


def _input(
    path: Path, value: Any, named: Mapping[str, Any], sizes: Mapping[str, int], batch: int
) -> FurtherInput:
    from onnx import helper

    dims = [d.dim_value or 0 for d in value.type.tensor_type.shape.dim]
    number = value.type.tensor_type.elem_type
    dtype = helper.tensor_dtype_to_np_dtype(number).name if number else 'unknown'
    seen = f'{value.name} {dims} of {dtype}'
    numbers = named.get(value.name) or [sizes[key] for key in _KNOWN.get(value.name, ())]
    if not numbers:
        raise ModelError(
            f'{path}: beside the image it has the input {seen}, of which is not known what it '
            f'gets: say so under "inputs" in {sidecar_of(path).name} beside it, such as\n'
            f'inputs: {{{value.name}: [{sizes["height"]}, {sizes["width"]}]}}'
        )
    batched = len(dims) > 1 and dims[0] in (batch, 0)
    own = [n or len(numbers) for n in (dims[1:] if batched else dims)]
    shape = (0, *own) if batched else tuple(own)
    fitting = math.prod(own) % len(numbers) == 0
    kept = dtype in TYPES and _kept(numbers, dtype)
    if not fitting or not kept:
        raise ModelError(
            f'{path}: its input {seen} cannot hold {list(numbers)} for each image'
            + ('' if dtype in TYPES else f'; types that are fed: {", ".join(TYPES)}')
        )
    return FurtherInput(value.name, dtype, shape, tuple(float(n) for n in numbers))


def _kept(numbers: Sequence[float], dtype: str) -> bool:
    """Return whether numbers are what they were in this type."""
    with np.errstate(all='ignore'):
        there = np.asarray(numbers, np.float64).astype(dtype).astype(np.float64)
    return bool(np.allclose(there, numbers, 1e-3, 0))
