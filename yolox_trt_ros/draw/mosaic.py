"""All cameras in one picture, arranged by their viewing direction."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from yolox_trt_ros.core.config import CameraConfig
from yolox_trt_ros.core.detections import Detections
from yolox_trt_ros.draw.boxes import ClassNames, Colour, draw_on, draw_tag

SIDEWAYS_DEG = 30.0
"""A camera that looks further aside than this, but not to the rear, belongs to a side."""
BACKGROUND: Colour = (28, 28, 28)
GAP = 4

Place = tuple[int, int]


@dataclass(frozen=True, slots=True)
class MosaicLayout:
    """Which cell of a grid each camera has.

    Attributes:
        rows, columns: of the grid.
        places: (row, column) by camera.
        free: a cell without a camera, nearest to the middle, or None.
    """

    rows: int
    columns: int
    places: dict[str, Place]
    free: Place | None


def layout(cameras: Sequence[CameraConfig]) -> MosaicLayout:
    """Return the grid for cameras whose ``rig`` says where they look.

    Cameras that look ahead make the top row, those that look to the rear the bottom row, from
    left to right as they sit; those that look aside stand at the left and right edge, the
    foremost on top. Where no rig distinguishes them, they fill a plain grid in their order.
    """
    yaw = {c.name: (c.rig.yaw_deg + 180.0) % 360.0 - 180.0 for c in cameras}
    by_y = sorted(cameras, key=lambda c: -c.rig.y_m)
    front = [c.name for c in by_y if abs(yaw[c.name]) <= SIDEWAYS_DEG]
    rear = [c.name for c in reversed(by_y) if abs(yaw[c.name]) >= 180.0 - SIDEWAYS_DEG]
    aside = sorted(
        (c.name for c in cameras if c.name not in {*front, *rear}), key=lambda n: abs(yaw[n])
    )
    left, right = ([n for n in aside if (yaw[n] > 0) == side] for side in (True, False))
    if not aside and not rear:
        return _plain([c.name for c in cameras])
    return _around(front, left, right, rear)


def _plain(names: Sequence[str]) -> MosaicLayout:
    columns = math.ceil(math.sqrt(len(names)))
    places = {name: divmod(i, columns) for i, name in enumerate(names)}
    rows = math.ceil(len(names) / columns)
    return MosaicLayout(rows, columns, places, _free(rows, columns, places))


def _around(front: list[str], left: list[str], right: list[str], rear: list[str]) -> MosaicLayout:
    sides = max(len(left), len(right))
    edges = 2 if sides else 0
    columns = max(len(front), edges + 1, len(rear))
    top = 1 if front else 0
    beside = bool(sides) and len(rear) + edges <= columns
    rows = top + sides + (1 if rear and not beside else 0)
    places: dict[str, Place] = {}
    for names, row, row_columns in ((front, 0, columns), (rear, rows - 1, columns)):
        first = (row_columns - len(names)) // 2
        places |= {name: (row, first + i) for i, name in enumerate(names)}
    for names, column in ((left, 0), (right, columns - 1)):
        places |= {name: (top + i, column) for i, name in enumerate(names)}
    return MosaicLayout(rows, columns, places, _free(rows, columns, places))


def _free(rows: int, columns: int, places: dict[str, Place]) -> Place | None:
    middle = ((rows - 1) / 2, (columns - 1) / 2)
    cells = {(r, c) for r in range(rows) for c in range(columns)} - set(places.values())
    return min(cells, key=lambda cell: (math.dist(cell, middle), cell), default=None)


class Mosaic:
    """The picture of all cameras, painted tile by tile.

    Args:
        cameras: in the vehicle's order.
        width: of the whole picture, pixels.
        aspect: width of a tile by its height.

    Attributes:
        layout: where the cameras are.
        tile: width and height of a tile, pixels.
    """

    def __init__(
        self, cameras: Sequence[CameraConfig], width: int = 1920, aspect: float = 1.5
    ) -> None:
        self.layout = layout(cameras)
        self.tile = (width // self.layout.columns, round(width / self.layout.columns / aspect))
        self._room = (self.tile[0] - GAP, self.tile[1] - GAP)
        shape = (self.tile[1] * self.layout.rows, self.tile[0] * self.layout.columns, 3)
        self.picture = np.full(shape, BACKGROUND, np.uint8)
        for camera in cameras:
            self.put(camera.name, None, f'{camera.name}: no image yet')

    def tile_of(self, picture: np.ndarray, found: Detections, labels: ClassNames) -> np.ndarray:
        """Return a BGR picture in the size of a tile, with its detections drawn legibly."""
        tile = fit_into(picture, self._room)
        tile = tile.copy() if tile is picture else tile
        scale = np.float32(tile.shape[1] / picture.shape[1])
        with np.errstate(over='ignore'):  # far outside is far outside
            xyxy = found.xyxy * scale
        draw_on(tile, Detections(xyxy, found.score, found.class_id), labels)
        return tile

    def put(self, camera: str, picture: np.ndarray | None, caption: str) -> None:
        """Paint a camera's tile.

        Args:
            camera: whose.
            picture: uint8 (h, w, 3) BGR of any size, fitted with its aspect kept; None: empty.
            caption: written on the tile's lower edge.
        """
        self.put_at(self.layout.places[camera], picture, caption)

    def put_at(self, place: Place, picture: np.ndarray | None, caption: str = '') -> None:
        """Paint the tile at (row, column); see :meth:`put`."""
        width, height = self.tile
        top, left = place[0] * height, place[1] * width
        tile = self.picture[top : top + height, left : left + width]
        tile[:] = BACKGROUND
        if picture is not None:
            fitted = fit_into(picture, self._room)
            h, w = fitted.shape[:2]
            y, x = (height - h) // 2, (width - w) // 2
            tile[y : y + h, x : x + w] = fitted
        if caption:
            draw_tag(tile, caption, (0, height - 1), BACKGROUND, max(0.4, height / 800))


def fit_into(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return a picture scaled to fit into (width, height), its aspect kept."""
    height, width = picture.shape[:2]
    scale = min(size[0] / width, size[1] / height)
    wanted = (max(1, round(width * scale)), max(1, round(height * scale)))
    if wanted == (width, height):
        return picture
    # Averaging areas costs six times as much, and shows only where pixels would be skipped.
    return cv2.resize(
        picture, wanted, interpolation=cv2.INTER_AREA if scale < 0.5 else cv2.INTER_LINEAR
    )
