"""A small darknet network with random weights, and what darknet makes of it, in NumPy."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from yolox_trt_ros.core.darknet_cfg import DarknetCfg, read_cfg

WIDTH, HEIGHT, CLASSES = 96, 64, 3


def conv(filters: int, size: int, stride: int, activation: str, more: str = '') -> str:
    normalised = '' if activation in ('linear', 'logistic') else 'batch_normalize=1\n'
    return (
        f'[convolutional]\n{normalised}filters={filters}\nsize={size}\nstride={stride}\npad=1\n'
        f'activation={activation}\n{more}'
    )


def cfg_text(new_coords: bool = False, net: str = '') -> str:
    """Return a cfg with every kind of layer and activation of YOLOv3, v4 and their tiny forms."""
    last = 'logistic' if new_coords else 'linear'
    yolo = (
        f'[yolo]\nmask=%s\nanchors=9,14, 20,17, 30,40, 44,36\nclasses={CLASSES}\nnum=4\n'
        f'scale_x_y=%s\nthresh=0\n{"new_coords=1" if new_coords else ""}\n'
    )
    maps = 2 * (5 + CLASSES)
    return '\n'.join(
        [
            f'[net]\nwidth={WIDTH}\nheight={HEIGHT}\nchannels=3\n{net}',
            conv(16, 3, 2, 'leaky'),  # 0
            conv(16, 3, 1, 'mish', 'groups=4\n'),
            '[route]\nlayers=-1\ngroups=2\ngroup_id=1',  # 2, as YOLOv4-tiny
            conv(8, 3, 1, 'swish'),
            '[route]\nlayers=-1,-2',  # 4
            conv(16, 1, 1, 'relu'),
            '[shortcut]\nfrom=-5\nactivation=leaky',  # 6
            '[maxpool]\nsize=2\nstride=2',
            conv(24, 3, 2, 'relu6', 'dilation=1\n'),  # 8
            '[maxpool]\nsize=2\nstride=1',  # as YOLOv3-tiny
            '[maxpool]\nstride=1\nsize=5',
            '[route]\nlayers=-2',
            '[maxpool]\nstride=1\nsize=3',  # 12
            '[route]\nlayers=-1,-3,8',
            conv(24, 1, 1, 'mish'),  # 14
            '[dropout]\nprobability=.5',
            conv(maps, 1, 1, last),
            yolo % ('2,3', '2' if new_coords else '1.05'),
            '[route]\nlayers=14',  # 18
            conv(16, 1, 1, 'leaky'),
            '[upsample]\nstride=2',
            '[route]\nlayers=-1,7',
            conv(maps, 1, 1, last),
            yolo % ('0,1', '2' if new_coords else '1.2'),
        ]
    )


def write_network(folder: Path, new_coords: bool = False, net: str = '') -> tuple[Path, Path]:
    """Write ``a.cfg`` and ``a.weights``."""
    cfg_file, weights_file = folder / 'a.cfg', folder / 'a.weights'
    cfg_file.write_text(cfg_text(new_coords, net))
    cfg, rng = read_cfg(cfg_file), np.random.default_rng(3)
    parts = [np.array([0, 2, 0], '<i4').tobytes(), np.array([64], '<i8').tobytes()]
    for layer in cfg.layers:
        if layer.section.kind != 'convolutional':
            continue
        filters, size = layer.shape[0], layer.section.count('size', 1)
        channels = (cfg.layers[layer.inputs[0]].shape if layer.inputs[0] >= 0 else cfg.input)[0]
        channels //= layer.section.count('groups', 1)
        deviation = np.sqrt(2 / (channels * size * size))
        numbers = [rng.normal(0, 0.3, filters)]  # biases
        if layer.section.options.get('batch_normalize'):
            numbers += [
                rng.uniform(0.7, 1.4, filters),
                rng.normal(0, 0.2, filters),
                rng.uniform(0.5, 1.5, filters),
            ]
        elif layer.section.options['activation'] in ('linear', 'logistic'):
            deviation *= 0.4
        numbers.append(rng.normal(0, deviation, filters * channels * size * size))
        parts += [n.astype('<f4').tobytes() for n in numbers]
    weights_file.write_bytes(b''.join(parts))
    return cfg_file, weights_file


ACTIVATIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    'linear': lambda x: x,
    'logistic': lambda x: 1 / (1 + np.exp(-x)),
    'leaky': lambda x: np.where(x > 0, x, 0.1 * x),
    'relu': lambda x: np.maximum(x, 0),
    'relu6': lambda x: np.clip(x, 0, 6),
    'swish': lambda x: x / (1 + np.exp(-x)),
    'mish': lambda x: x * np.tanh(np.log1p(np.exp(x))),
}


def windows(
    x: np.ndarray, size: int, stride: int, first: int, last: int, fill: float
) -> np.ndarray:
    """Return (channels, height, width, size, size)."""
    padded = np.pad(x, ((0, 0), (first, last), (first, last)), constant_values=fill)
    views = np.lib.stride_tricks.sliding_window_view(padded, (size, size), (1, 2))
    return views[:, ::stride, ::stride]


def darknet_maps(cfg: DarknetCfg, weights: bytes, image: np.ndarray) -> dict[int, np.ndarray]:
    """Return what each ``[yolo]`` layer reads, by stride.

    A port of ``forward_network`` in https://github.com/AlexeyAB/darknet: src/convolutional_layer.c,
    batchnorm_layer.c, maxpool_layer.c, route_layer.c, shortcut_layer.c, upsample_layer.c; the order
    of weights is that of src/parser.c. Normalisation is not folded here.

    Args:
        cfg: the network.
        weights: content of its file.
        image: float (3, height, width), RGB, 0 to 1.
    """
    numbers, at, outputs = np.frombuffer(weights[20:], '<f4').astype(np.float64), 0, []

    def taken(*shape: int) -> np.ndarray:
        nonlocal at
        at += int(np.prod(shape))
        return numbers[at - int(np.prod(shape)) : at].reshape(shape)

    for i, layer in enumerate(cfg.layers):
        options, kind = layer.section.options, layer.section.kind
        x = outputs[i - 1] if i else image
        number = {key: int(options.get(key, 1)) for key in ('size', 'stride', 'groups', 'filters')}
        size, stride, groups = (number[key] for key in ('size', 'stride', 'groups'))
        if kind == 'convolutional':
            each = len(x) // groups
            biases = taken(number['filters'])
            normal = (
                [taken(number['filters']) for _ in range(3)]
                if 'batch_normalize' in options
                else None
            )
            kernel = taken(groups, number['filters'] // groups, each, size, size)
            seen = windows(x, size, stride, size // 2, size // 2, 0)
            seen = seen.reshape(groups, each, *seen.shape[1:])
            x = np.einsum('gfcij,gchwij->gfhw', kernel, seen).reshape(-1, *seen.shape[2:4])
            if normal:
                scales, mean, variance = (n[:, None, None] for n in normal)
                x = (x - mean) / np.sqrt(variance + 1e-5) * scales
            x = ACTIVATIONS[options['activation']](x + biases[:, None, None])
        elif kind == 'maxpool':
            first = (size - 1) // 2
            x = windows(x, size, stride, first, size - 1 - first, -np.inf).max(axis=(3, 4))
        elif kind == 'upsample':
            x = x.repeat(stride, axis=1).repeat(stride, axis=2)
        elif kind == 'shortcut':
            x = ACTIVATIONS[options['activation']](x + outputs[i + int(options['from'])])
        elif kind == 'route':
            named = [int(n) for n in options['layers'].split(',')]
            parts = [outputs[i + n if n < 0 else n] for n in named]
            group = int(options.get('group_id', 0))
            x = np.concatenate([p.reshape(groups, -1, *p.shape[1:])[group] for p in parts])
        outputs.append(x)
    assert at == len(numbers)
    return {
        HEIGHT // outputs[i - 1].shape[1]: outputs[i - 1]
        for i, layer in enumerate(cfg.layers)
        if layer.section.kind == 'yolo'
    }
