"""Parts of an image that are ignored: rows and polygons, as a camera's configuration names them.

A number is in pixels of the source image, or with % a share of its width or height.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import numpy as np

from yolox_trt_ros.core.errors import ConfigError, did_you_mean
from yolox_trt_ros.core.printing import shown

MOST_EDGES = 256
"""Of a camera; kernels look at all of them for each candidate."""
_FAR = 1e6
"""Pixels beyond the border, where centres of boxes may lie too."""

_NUMBER = re.compile(r'(-?\d{1,6}(?:\.\d{1,6})?)(%?)')
_EXAMPLES = '"rows 900-1200", "rows 85%-" or "polygon 0,900 960,700 1920,900"'

Coordinate = tuple[float, float]
"""Pixels, and a share of the image's side on top."""


def edges_of(regions: Iterable[str]) -> np.ndarray:
    """Return the sides of polygons that cover some regions.

    Args:
        regions: ``rows FIRST-LAST``, one of them may be missing, from the row's upper to the
            other's upper edge; or ``polygon X,Y X,Y X,Y …``.

    Returns:
        float32 (n, 2, 4): the two ends of each side, each as pixels x and y, and shares of the
        image's width and height on top. All polygons turn the same direction.

    Raises:
        ConfigError: one is written otherwise, or there are too many corners.
    """
    polygons = [_polygon(region) for region in regions]
    edges = [np.stack((corners, np.roll(corners, -1, axis=0)), axis=1) for corners in polygons]
    found = np.concatenate([np.empty((0, 2, 4)), *edges]).astype(np.float32)
    if len(found) > MOST_EDGES:
        raise ConfigError(f'expected at most {MOST_EDGES} corners, got {len(found)}')
    return found


def inside(edges: np.ndarray, x: np.ndarray, y: np.ndarray, width: int, height: int) -> np.ndarray:
    """Return which points lie in the polygons, by winding numbers; decode.cuh does the same.

    Args:
        edges: what :func:`edges_of` returned.
        x, y: float32 (n,), pixels.
        width, height: of the image, pixels.

    Returns:
        bool (n,).
    """
    size = np.array([width, height], np.float32)
    ends = edges[..., :2] + edges[..., 2:] * size
    (x1, y1), (x2, y2) = (ends[:, k, :, None].transpose(1, 0, 2) for k in (0, 1))
    side = (x2 - x1) * (y - y1) - (x - x1) * (y2 - y1)
    up = (y1 <= y) & (y2 > y) & (side > 0)
    down = (y1 > y) & (y2 <= y) & (side < 0)
    winding: np.ndarray = up.sum(axis=0) - down.sum(axis=0)
    return winding != 0


def _polygon(region: str) -> np.ndarray:
    """Return the corners, float64 (n, 4), all polygons in the same direction."""
    kind, _, rest = region.strip().partition(' ')
    if kind == 'rows':
        corners = _rows(region, rest.strip())
    elif kind == 'polygon':
        corners = _corners(region, rest.split())
    else:
        near = did_you_mean(kind, ('rows', 'polygon'))
        raise ConfigError(f'{shown(region)}: {shown(kind)} is no kind of region{near}')
    # Shares and pixels are mixed only within one corner: any size tells the direction.
    x, y = (corners[:, k] + corners[:, k + 2] * 10_000 for k in (0, 1))
    turned = (x * np.roll(y, -1) - np.roll(x, -1) * y).sum() < 0
    return corners[::-1] if turned else corners


def _rows(region: str, text: str) -> np.ndarray:
    first, dash, last = text.partition('-')
    if not dash or not (first or last):
        raise ConfigError(f'{shown(region)}: expected rows FIRST-LAST, such as {_EXAMPLES}')
    top = _number(region, first.strip()) if first.strip() else (-_FAR, 0.0)
    bottom = _number(region, last.strip()) if last.strip() else (_FAR, 0.0)
    if (top[0] > bottom[0] and top[1] >= bottom[1]) or (top[1] > bottom[1] and top[0] >= bottom[0]):
        raise ConfigError(f'{shown(region)}: expected the first row above the last one')
    return np.array(
        [(x, row[0], 0.0, row[1]) for x, row in zip(
            (-_FAR, _FAR, _FAR, -_FAR), (top, top, bottom, bottom), strict=True
        )]
    )  # fmt: skip


def _corners(region: str, points: Sequence[str]) -> np.ndarray:
    if len(points) < 3:
        raise ConfigError(f'{shown(region)}: expected at least 3 corners, got {len(points)}')
    corners = []
    for point in points:
        x, comma, y = point.partition(',')
        if not comma:
            raise ConfigError(f'{shown(region)}: expected X,Y, got {shown(point)}')
        (x_pixels, x_share), (y_pixels, y_share) = _number(region, x), _number(region, y)
        corners.append((x_pixels, y_pixels, x_share, y_share))
    return np.array(corners)


def _number(region: str, text: str) -> Coordinate:
    match = _NUMBER.fullmatch(text)
    if match is None:
        raise ConfigError(
            f'{shown(region)}: expected a number of pixels, or of percent with %, got '
            f'{shown(text)}; examples: {_EXAMPLES}'
        )
    value = float(match[1])
    return (0.0, value / 100) if match[2] else (value, 0.0)
