"""Darknet's cfg of the graphs in ``dense_graphs.yolov5_maps``, and its boxes by its own formula."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from dense_graphs import ANCHORS, CLASSES, HEIGHT, STRIDES, WIDTH

SCALES = (1.2, 1.1, 1.05)
"""YOLOv4's scale_x_y of strides 8, 16, 32."""
MANY = ', '.join(
    f'{w},{h}' for level in ANCHORS for w, h in zip(level[::2], level[1::2], strict=True)
)


def written_cfg(
    path: Path,
    scales: Sequence[float] = SCALES,
    net: str = '',
    more: str = '',
    mask: int = 3,
    classes: int = CLASSES,
) -> Path:
    """Write a network of a convolution for each stride, coarsest first as YOLOv3 has them."""
    parts = [f'[net]\n# of the tests\nwidth={WIDTH}\nheight = {HEIGHT}\nchannels=3\n{net}']
    for i in reversed(range(len(STRIDES))):
        back = '[route]\nlayers=0\n' if parts[1:] else '[dropout]\nprobability=0\n'
        own = ','.join(str(3 * i + k) for k in range(mask))
        parts.append(
            f'{back}\n[convolutional]\nfilters={mask * (5 + classes)}\nsize={STRIDES[i]}\n'
            f'stride={STRIDES[i]}\npad=0\nactivation=linear\n\n'
            f'[yolo]\nmask = {own}\nanchors = {MANY}\nclasses={classes}\nnum=9\n'
            f'scale_x_y = {scales[i]}\n{more}'
        )
    path.write_text('\n'.join(parts))
    return path


def darknet_boxes(
    maps: Sequence[np.ndarray], scales: Sequence[float], new_coords: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Return centres and sizes in input pixels (anchors, 4), and scores (anchors, classes).

    A port of ``forward_yolo_layer``, ``get_yolo_box`` and ``get_yolo_detections`` in
    https://github.com/AlexeyAB/darknet, src/yolo_layer.c.

    Args:
        maps: of one image, finest first, [3 × (5 + classes), height, width] each.
        scales: ``scale_x_y`` of each.
        new_coords: the layers' option of that name.
    """
    boxes, scores = [], []
    for level, raw in enumerate(maps):
        h, w = raw.shape[1:]
        for n in range(3):
            x = raw.reshape(3, -1, h, w)[n].astype(np.float64)
            biases = ANCHORS[level][2 * n : 2 * n + 2]
            sizes = x[2:4].copy()
            x = 1 / (1 + np.exp(-x))
            alpha, beta = scales[level], -0.5 * (scales[level] - 1)
            for j in range(h):
                for i in range(w):
                    across, down = alpha * x[:2, j, i] + beta
                    bx, by = (i + across) / w, (j + down) / h
                    if new_coords:
                        bw, bh = x[2:4, j, i] ** 2 * 4 * biases / [WIDTH, HEIGHT]
                    else:
                        bw, bh = np.exp(sizes[:, j, i]) * biases / [WIDTH, HEIGHT]
                    boxes.append([bx * WIDTH, by * HEIGHT, bw * WIDTH, bh * HEIGHT])
                    scores.append(x[4, j, i] * x[5:, j, i])
    return np.array(boxes), np.array(scores)
