"""Darknet's cfg and weights, written by somebody else."""

from __future__ import annotations

import random
import tempfile
from functools import cache, partial
from pathlib import Path

from fuzz_files import feed
from harness import Target
from mutation import TEXTS, damaged

from yolox_trt_ros.core.darknet_cfg import DarknetCfg, read_cfg
from yolox_trt_ros.core.errors import ConfigError, ModelError
from yolox_trt_ros.engine.darknet_weights import read_weights

CFG = """[net]
width=64
height=32
[convolutional]
batch_normalize=1
filters=14
size=3
stride=2
pad=1
groups=1
activation=leaky
[maxpool]
size=2
stride=2
[shortcut]
from=-2
[yolo]
mask=0,1
anchors=10,14,23,27
classes=2
num=2
[route]
layers=-3,1
groups=2
group_id=1
[upsample]
stride=2
[yolo]
mask=0,1
anchors=10,14,23,27
classes=2
scale_x_y=1.05
"""
PIECES = (
    '[', ']', '=', ',', '-1', '0', '-0', '1e9', '1e999', 'nan', 'inf', '9' * 5000, '[yolo]\n',
    '[route]\nlayers=', '[upsample]\nstride=65536\n', 'filters=65536\n', 'padding=65536\n',
    'stride=0\n', 'size=0\n', 'groups=0\n', '#', ';', '\0', '\r', '\ufeff', '\u2028', '=\n',
    '[upsample]\n' * 50, '[convolutional]\n' * 5000,
)  # fmt: skip


def make_cfg(source: random.Random) -> bytes:
    """Return a cfg in which lines, pieces or bytes are wrong."""
    lines = CFG.splitlines(keepends=True)
    for _ in range(source.choice((0, 1, 1, 2, 5))):
        i = source.randrange(len(lines))
        key, equals, _ = lines[i].partition('=')
        lines[i] = source.choice(
            ('', lines[i] * 2, source.choice(lines), f'{key}{equals}{source.choice(PIECES)}\n')
        )
    text = ''.join(lines)
    for _ in range(source.choice((0, 0, 1, 3))):
        at = source.randrange(len(text) + 1)
        piece = source.choice((*PIECES, *TEXTS))
        text = text[:at] + piece + text[at + source.choice((0, 0, 1, 9)) :]
    raw = text.encode('utf-8', 'surrogatepass')
    return damaged(raw, source) if source.random() < 0.2 else raw


@cache
def network() -> DarknetCfg:
    """Return the cfg that the weights are read for."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / 'a.cfg'
        file.write_text(CFG)
        return read_cfg(file)


def make_weights(source: random.Random) -> bytes:
    """Return weights of that network in which bytes are wrong or missing."""
    version = source.choice((0, 2, 2, 2, 999, -1)).to_bytes(4, 'little', signed=True)
    raw = bytes(4) + version + bytes(12) + source.randbytes(4 * 434)
    return damaged(raw, source) if source.random() < 0.5 else raw


def read_its_weights(path: Path) -> object:
    """Read weights of that network."""
    return read_weights(path, network())


TARGETS = [
    Target(
        'darknet_cfgs', make_cfg, partial(feed, read_cfg, '.cfg'), (ConfigError, ModelError), 30.0,
        1024, share=0.01,
    ),
    Target(
        'darknet_weights', make_weights, partial(feed, read_its_weights, '.weights'),
        (ConfigError, ModelError), 30.0, 1024, share=0.01,
    ),
]  # fmt: skip
