"""Write what OpenCV's darknet reader finds, for test_darknet_onnx.py to compare with.

OpenCV 5 reads no darknet any more, so an older one makes the record:

    pip install --target DIR 'opencv-python-headless<5'
    PYTHONPATH=test:test/engine OPENCV4=DIR python test/engine/record_opencv.py
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from darknet_network import write_network

RECORD = Path(__file__).parent / 'opencv_darknet.json'
IMAGE = np.random.default_rng(0).integers(0, 256, (90, 171, 3), np.uint8)
READER = """
import sys
import cv2, numpy as np
net = cv2.dnn.readNetFromDarknet(sys.argv[1], sys.argv[2])
image = np.load(sys.argv[3])
size = int(sys.argv[5]), int(sys.argv[6])
net.setInput(cv2.dnn.blobFromImage(image, 1 / 255, size, swapRB=True, crop=False))
outputs = net.forward(net.getUnconnectedOutLayersNames())
np.save(sys.argv[4], np.concatenate([o.reshape(-1, o.shape[-1]) for o in outputs]))
print(cv2.__version__)
"""


def network(folder: Path, new_coords: bool) -> tuple[Path, Path]:
    """Write a cfg and weights without ReLU6, which OpenCV does not know."""
    cfg, weights = write_network(folder, new_coords)
    cfg.write_text(cfg.read_text().replace('relu6', 'relu'))
    return cfg, weights


def rows_of(new_coords: bool, size: tuple[int, int]) -> tuple[list[list[float]], str]:
    """Return corners in pixels, score and class of each anchor and class, and OpenCV's version."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        cfg, weights = network(folder, new_coords)
        np.save(folder / 'image.npy', IMAGE)
        files = (cfg, weights, folder / 'image.npy', folder / 'rows.npy')
        done = subprocess.run(
            [sys.executable, '-c', READER, *map(str, (*files, *size))],
            check=True, text=True, stdout=subprocess.PIPE,
            env={**os.environ, 'PYTHONPATH': os.environ['OPENCV4']},
        )  # fmt: skip
        found = np.load(files[-1]).astype(np.float64)
    height, width = IMAGE.shape[:2]
    centre, half = found[:, :2] * [width, height], found[:, 2:4] * [width, height] / 2
    corners = np.concatenate((centre - half, centre + half), axis=1)
    rows = [[*corners[n], found[n, 5 + k], k] for n, k in np.argwhere(found[:, 5:] > 0.3).tolist()]
    return rows, done.stdout.strip()


def main() -> None:
    """Write it."""
    from darknet_network import HEIGHT, WIDTH

    record: dict[str, object] = {}
    for new_coords in (False, True):
        rows, record['opencv'] = rows_of(new_coords, (WIDTH, HEIGHT))
        scores = np.sort([row[4] for row in rows])
        gaps = np.where(np.abs(scores[1:] - 0.45) < 0.05, np.diff(scores), 0)
        limit = float((scores[1:] + scores[:-1])[gaps.argmax()] / 2)
        kept = [np.round(row, 5).tolist() for row in rows if row[4] > limit]
        record[str(new_coords)] = {'threshold': limit, 'rows': kept}
        print(f'new_coords {new_coords}: {len(kept)} above {limit:.4f}')
    RECORD.write_text(json.dumps(record) + '\n')


if __name__ == '__main__':
    main()
