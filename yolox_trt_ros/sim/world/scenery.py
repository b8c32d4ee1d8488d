"""What stands beside the road: buildings, trees and street furniture, as meshes."""

from __future__ import annotations

import numpy as np

from yolox_trt_ros.sim.world.bodies import vivid
from yolox_trt_ros.sim.world.mesh import Colour, Mesh

METAL: Colour = (0.32, 0.33, 0.35)
WOOD: Colour = (0.33, 0.24, 0.17)


def building(rng: np.random.Generator, width: float, textures: int) -> Mesh:
    """Return a town house, front on the x axis facing −y, ``width`` metres along x.

    Args:
        rng: random source.
        width: metres.
        textures: how many ``facade<i>`` and ``shop<i>`` textures exist.
    """
    storeys, depth = int(rng.integers(2, 8)), 11.0
    height, base = 3.1 * storeys + 3.6, 3.6
    name, shop = f'facade{rng.integers(textures)}', f'shop{rng.integers(textures)}'
    red, green, blue = (float(v) for v in rng.uniform(0.8, 1.05, 3))
    tint = (red, green, blue)
    mesh, half = Mesh(), width / 2
    u, v = round(width / 3.2) / 4, storeys / 4

    def wall(
        a: tuple[float, float],
        b: tuple[float, float],
        low: float,
        high: float,
        texture: str,
        across: float,
        up: float,
    ) -> None:
        uv = np.array([[0, 0], [across, 0], [across, up], [0, up]], np.float32)
        mesh.face([(*a, low), (*b, low), (*b, high), (*a, high)], tint, texture, uv)

    front = ((-half, 0.0), (half, 0.0))
    wall(*front, base, height, name, u, v)
    if rng.random() < 0.7:
        wall(*front, 0.0, base, shop, max(1, round(width / 9)), 1)
        if rng.random() < 0.5:
            y, z, awning = -1.1, 2.6, vivid(rng)
            mesh.face([(-half, y, z), (half, y, z), (half, 0, 3.3), (-half, 0, 3.3)], awning)
            mesh.face(
                [(-half, 0, 3.29), (half, 0, 3.29), (half, y, z - 0.01), (-half, y, z - 0.01)],
                awning,
            )
    else:
        wall(*front, 0.0, base, name, u, 0.25)
    for a, b in (((half, 0.0), (half, depth)), ((-half, depth), (-half, 0.0))):
        wall(a, b, 0.0, height, name, 0.75, v + 0.25)
    roof = (0.38, 0.2, 0.15) if rng.random() < 0.5 else (0.25, 0.25, 0.27)
    if rng.random() < 0.4:
        ridge, mid = height + 2.8, depth / 2
        mesh.face(
            [(-half, -0.3, height), (half, -0.3, height), (half, mid, ridge), (-half, mid, ridge)],
            roof,
        )
        mesh.face([(half, 0, height), (half, depth, height), (half, mid, ridge)], tint)
        mesh.face([(-half, depth, height), (-half, 0, height), (-half, mid, ridge)], tint)
    else:
        mesh.box((0, depth / 2, height + 0.25), (width + 0.3, depth + 0.3, 0.5), roof)
    return mesh


def tree(rng: np.random.Generator) -> Mesh:
    """Return a broad-leaved tree or a conifer, 4 to 9 m tall."""
    green = (rng.uniform(0.14, 0.34), rng.uniform(0.28, 0.46), rng.uniform(0.08, 0.18))
    if rng.random() < 0.12:
        green = (rng.uniform(0.5, 0.7), rng.uniform(0.3, 0.45), 0.1)
    mesh, trunk = Mesh(), rng.uniform(1.8, 3.0)
    mesh.cylinder((0, 0, 0), (0, 0, trunk + 0.8), 0.16, WOOD, None, 6, 0.1)
    if rng.random() < 0.2:
        for k in range(3):
            z = 0.9 + k * 1.5
            mesh.cylinder((0, 0, z), (0, 0, z + 2.2), 1.7 - 0.4 * k, green, green, 8, 0.05)
        return mesh
    for _ in range(int(rng.integers(3, 6))):
        r = rng.uniform(1.0, 1.8)
        at = (rng.uniform(-1, 1), rng.uniform(-1, 1), trunk + rng.uniform(0.8, 3.0))
        mesh.sphere(at, (r, r, r * 0.85), green, 4, 7, rng, 'leaves')
    return mesh


def bush(rng: np.random.Generator) -> Mesh:
    """Return a shrub or a piece of hedge."""
    green = (rng.uniform(0.14, 0.3), rng.uniform(0.26, 0.4), rng.uniform(0.08, 0.16))
    if rng.random() < 0.5:
        return Mesh().sphere((0, 0, 0.5), (0.8, 0.7, 0.7), green, 4, 7, rng, 'leaves')
    return Mesh().box(
        (0, 0, 0.55),
        (3.0, 0.7, 1.1),
        green,
        dict.fromkeys(('x+', 'x-', 'y+', 'y-', 'z+'), 'leaves'),
    )


def lamp(rng: np.random.Generator) -> Mesh:
    """Return a street lamp whose arm reaches 1.6 m towards −y."""
    h = 6.5
    mesh = Mesh().cylinder((0, 0, 0), (0, 0, h), 0.09, METAL, None, 6, 0.06)
    mesh.cylinder((0, 0, h), (0, -1.6, h + 0.2), 0.05, METAL, None, 5)
    return mesh.box((0, -1.7, h + 0.15), (0.3, 0.7, 0.12), (0.8, 0.8, 0.7))


def signal(rng: np.random.Generator) -> Mesh:
    """Return a traffic light that faces −x."""
    mesh = Mesh().cylinder((0, 0, 0), (0, 0, 3.4), 0.07, METAL, None, 6)
    mesh.box((0, 0, 2.9), (0.28, 0.32, 0.95), (0.08, 0.08, 0.08))
    on = int(rng.integers(3))
    for k, colour in enumerate(((0.95, 0.12, 0.08), (0.95, 0.7, 0.1), (0.1, 0.9, 0.3))):
        shade = colour if k == on else (0.14, 0.12, 0.1)
        for x in (-0.15, 0.15):
            mesh.box((x, 0, 3.2 - 0.29 * k), (0.03, 0.2, 0.2), shade)
    return mesh


def sign(rng: np.random.Generator) -> Mesh:
    """Return a road sign or a small poster on a post."""
    mesh = Mesh().cylinder((0, 0, 0), (0, 0, 2.6), 0.035, METAL, None, 5)
    colour, z = vivid(rng), 2.3
    if rng.random() < 0.5:
        mesh.cylinder((-0.03, 0, z), (-0.05, 0, z), 0.34, colour, colour, 8)
        mesh.cylinder((-0.05, 0, z), (-0.06, 0, z), 0.24, (0.9, 0.9, 0.9), (0.9, 0.9, 0.9), 8)
    else:
        mesh.box((-0.05, 0, z), (0.04, 0.62, 0.62), colour)
    return mesh


def furniture(rng: np.random.Generator) -> Mesh:
    """Return a bin, bollard, hydrant, kiosk, bench, crate stack or switch box."""
    kind, colour = int(rng.integers(6)), vivid(rng)
    mesh = Mesh()
    if kind == 0:
        return mesh.cylinder((0, 0, 0), (0, 0, 1.0), 0.27, colour, (0.1, 0.1, 0.1), 8, 0.31)
    if kind == 1:
        return mesh.cylinder((0, 0, 0), (0, 0, 0.95), 0.1, (0.75, 0.2, 0.12), (0.9, 0.9, 0.9), 7)
    if kind == 2:
        for z in (0.48, 0.85):
            mesh.box((0, 0.0 if z < 0.5 else 0.25, z), (1.7, 0.45 if z < 0.5 else 0.06, 0.08), WOOD)
        for x in (-0.7, 0.7):
            mesh.box((x, 0, 0.24), (0.08, 0.4, 0.45), METAL)
        return mesh
    if kind == 3:
        return mesh.box((0, 0, 0.7), (0.9, 0.45, 1.4), (0.42, 0.46, 0.42))
    if kind == 4:
        mesh.box((0, 0, 1.3), (1.3, 0.18, 1.9), (0.9, 0.9, 0.9), {'y-': 'cargo', 'y+': 'cargo'})
        return mesh.box((0, 0, 0.2), (0.3, 0.18, 0.4), METAL)
    for k in range(int(rng.integers(1, 4))):
        at = (rng.uniform(-0.3, 0.3), rng.uniform(-0.2, 0.2), 0.25 + 0.5 * (k // 2))
        mesh.box(at, (0.6, 0.5, 0.5), vivid(rng))
    return mesh


def shelter(rng: np.random.Generator) -> Mesh:
    """Return a bus shelter that opens towards −y."""
    mesh = Mesh().box((0, 0, 2.4), (3.8, 1.5, 0.12), METAL)
    for x in (-1.8, 1.8):
        mesh.box((x, 0.6, 1.2), (0.08, 0.08, 2.4), METAL)
    mesh.box((1.75, 0.1, 1.25), (0.1, 1.1, 1.8), (0.9, 0.9, 0.9), {'x-': 'cargo', 'x+': 'cargo'})
    return mesh.box((-0.3, 0.45, 0.5), (2.4, 0.4, 0.06), WOOD)


def fence(rng: np.random.Generator) -> Mesh:
    """Return six metres of wall or railing along x."""
    if rng.random() < 0.5:
        g = rng.uniform(0.4, 0.65)
        return Mesh().box((0, 0, 0.6), (6, 0.22, 1.2), (g, g * 0.93, g * 0.85))
    mesh = Mesh()
    for x in np.arange(-2.9, 3.0, 0.72):
        mesh.box((x, 0, 0.5), (0.06, 0.06, 1.0), METAL)
    for z in (0.3, 0.95):
        mesh.box((0, 0, z), (6, 0.05, 0.06), METAL)
    return mesh
