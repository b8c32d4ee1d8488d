"""Flat-shaded meshes built face by face; NumPy only."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

Colour = tuple[float, float, float]
"""Red, green, blue, 0 to 1."""

_UNIT_UV = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], np.float32)


def _normal(triangle: np.ndarray) -> tuple[float, float, float] | None:
    """Return the unit normal, or None where two corners coincide. Plain floats: these are hot."""
    (ax, ay, az), (bx, by, bz), (cx, cy, cz) = triangle.tolist()
    ux, uy, uz, vx, vy, vz = bx - ax, by - ay, bz - az, cx - ax, cy - ay, cz - az
    x, y, z = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
    length = math.sqrt(x * x + y * y + z * z)
    return (x / length, y / length, z / length) if length > 1e-12 else None


@dataclass
class Mesh:
    """Convex polygons in metres, x forward, y left, z up, outside seen counter-clockwise.

    Attributes:
        faces: (texture name or '', points float32 (k, 3), colour, uv float32 (k, 2)).
    """

    faces: list[tuple[str, np.ndarray, Colour, np.ndarray]] = field(default_factory=list)

    def face(
        self,
        points: Sequence[Sequence[float]] | np.ndarray,
        colour: Colour,
        texture: str = '',
        uv: np.ndarray | None = None,
    ) -> Mesh:
        """Add one convex polygon; quads get unit texture coordinates unless ``uv`` is given."""
        p = np.asarray(points, np.float32)
        if uv is None:
            uv = _UNIT_UV if len(p) == 4 else np.zeros((len(p), 2), np.float32)
        self.faces.append((texture, p, colour, uv))
        return self

    def box(
        self,
        centre: Sequence[float],
        size: Sequence[float],
        colour: Colour,
        textures: dict[str, str] | None = None,
        taper: float = 1.0,
    ) -> Mesh:
        """Add a box; ``textures`` names sides (``x+ x- y+ y- z+ z-``), ``taper`` scales its top."""
        cx, cy, cz = centre
        hx, hy, hz = (s / 2 for s in size)
        tx, ty = hx * taper, hy * taper
        lo = [(cx + a * hx, cy + b * hy, cz - hz) for a, b in ((1, 1), (-1, 1), (-1, -1), (1, -1))]
        hi = [(cx + a * tx, cy + b * ty, cz + hz) for a, b in ((1, 1), (-1, 1), (-1, -1), (1, -1))]
        sides = {
            'x+': (lo[3], lo[0], hi[0], hi[3]),
            'x-': (lo[1], lo[2], hi[2], hi[1]),
            'y+': (lo[0], lo[1], hi[1], hi[0]),
            'y-': (lo[2], lo[3], hi[3], hi[2]),
            'z+': (hi[0], hi[1], hi[2], hi[3]),
            'z-': (lo[3], lo[2], lo[1], lo[0]),
        }
        for side, points in sides.items():
            self.face(points, colour, (textures or {}).get(side, ''))
        return self

    def loft(
        self, rings: Sequence[np.ndarray], colours: Sequence[Sequence[Colour]], cap: Colour
    ) -> Mesh:
        """Skin rings (k, 3) that follow each other towards −x, counter-clockwise seen from +x.

        Args:
            rings: n rings of k points each.
            colours: n − 1 rows of k colours; entry i paints the strip from point i to i + 1.
            cap: colour of both ends.
        """
        k = len(rings[0])
        for front, back, row in zip(rings[:-1], rings[1:], colours, strict=True):
            for i in range(k):
                j = (i + 1) % k
                self.face((back[i], front[i], front[j], back[j])[::-1], row[i])
        self.face(rings[0], cap)
        self.face(rings[-1][::-1], cap)
        return self

    def cylinder(
        self,
        start: Sequence[float],
        end: Sequence[float],
        radius: float,
        colour: Colour,
        cap: Colour | None = None,
        sides: int = 8,
        end_radius: float | None = None,
    ) -> Mesh:
        """Add a cylinder, or a frustum when ``end_radius`` differs; ``cap`` paints the ends."""
        a, b = np.asarray(start, float), np.asarray(end, float)
        axis = (b - a) / np.linalg.norm(b - a)
        helper = np.array([0.0, 0, 1]) if abs(axis[2]) < 0.9 else np.array([1.0, 0, 0])
        u = np.cross(axis, helper)
        u /= np.linalg.norm(u)
        v = np.cross(axis, u)
        angle = np.arange(sides) * 2 * np.pi / sides
        circle = np.outer(np.cos(angle), u) + np.outer(np.sin(angle), v)
        lo = a + circle * radius
        hi = b + circle * (radius if end_radius is None else end_radius)
        for i in range(sides):
            j = (i + 1) % sides
            self.face((lo[i], lo[j], hi[j], hi[i]), colour)
        if cap is not None:
            self.face(lo[::-1], cap)
            self.face(hi, cap)
        return self

    def sphere(
        self,
        centre: Sequence[float],
        radii: Sequence[float],
        colour: Colour,
        rings: int = 4,
        sides: int = 7,
        rng: np.random.Generator | None = None,
        texture: str = '',
    ) -> Mesh:
        """Add an ellipsoid; with ``rng`` its surface is uneven, as foliage is."""
        theta = np.linspace(0, np.pi, rings + 1)
        phi = np.arange(sides) * 2 * np.pi / sides
        grid = np.stack(
            [
                np.outer(np.sin(theta), np.cos(phi)),
                np.outer(np.sin(theta), np.sin(phi)),
                np.outer(np.cos(theta), np.ones(sides)),
            ],
            -1,
        )
        if rng is not None:
            grid[1:-1] *= rng.uniform(0.8, 1.2, (rings - 1, sides, 1))
        grid = grid * radii + np.asarray(centre)
        for r in range(rings):
            for i in range(sides):
                j = (i + 1) % sides
                shade = 1.0 if rng is None else float(rng.uniform(0.8, 1.15))
                tint = (colour[0] * shade, colour[1] * shade, colour[2] * shade)
                quad = (grid[r + 1, i], grid[r + 1, j], grid[r, j], grid[r, i])
                self.face(quad, tint, texture)
        return self

    def triangles(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Return, per texture, vertices float32 (n, 12) and triangle indices uint16 (m, 3).

        A vertex is position, normal, colour RGBA 0 to 1, uv.

        Raises:
            ValueError: more than 65,535 vertices share one texture.
        """
        out: dict[str, tuple[list[np.ndarray], list[np.ndarray], int]] = {}
        for texture, points, colour, uv in self.faces:
            rows, tris, base = out.get(texture, ([], [], 0))
            k = len(points)
            normal = _normal(points[:3]) or (_normal(points[[0, 2, 3]]) if k == 4 else None)
            block = np.empty((k, 12), np.float32)
            block[:, :3] = points
            block[:, 3:6] = normal or (0.0, 0.0, 1.0)
            block[:, 6:9] = colour
            block[:, 9] = 1
            block[:, 10:] = uv
            rows.append(block)
            fan = np.arange(1, k - 1)
            tris.append(np.stack([np.zeros_like(fan), fan, fan + 1], 1) + base)
            out[texture] = (rows, tris, base + k)
        result = {}
        for texture, (rows, tris, count) in out.items():
            if count > 65535:
                raise ValueError(f'texture "{texture}": {count} vertices, at most 65535 fit')
            result[texture] = (np.concatenate(rows), np.concatenate(tris).astype(np.uint16))
        return result

    def corners(self) -> np.ndarray:
        """Return float32 (n, 3): the distinct points of the mesh."""
        return np.unique(np.concatenate([f[1] for f in self.faces]).round(3), axis=0)
