"""Cars, trucks and buses, random in shape, size and colour."""

from __future__ import annotations

import numpy as np

from yolox_trt_ros.sim.world.bodies import (
    BLACK,
    GLASS,
    HEADLIGHT,
    HUB,
    TAILLIGHT,
    TYRE,
    Body,
    paint,
    shade,
    vivid,
)
from yolox_trt_ros.sim.world.mesh import Colour, Mesh


def _ring(x: float, half: float, low: float, high: float, shoulder: float = 0.9) -> np.ndarray:
    mid = low + 0.55 * (high - low)
    return np.array(
        [
            [x, half * 0.95, low],
            [x, half, mid],
            [x, half * shoulder, high],
            [x, -half * shoulder, high],
            [x, -half, mid],
            [x, -half * 0.95, low],
        ]
    )


def _wheels(mesh: Mesh, xs: list[float], half: float, radius: float, width: float = 0.22) -> None:
    for x in xs:
        for side in (1, -1):
            outer = side * (half + 0.01)
            ends = (x, outer - side * width, radius), (x, outer, radius)
            mesh.cylinder(*ends, radius, TYRE, TYRE, sides=12)
            rim = (x, outer - side * 0.02, radius), (x, outer + side * 0.015, radius)
            mesh.cylinder(*rim, radius * 0.62, HUB, HUB, sides=8)


def _lamps(body: Body, front: float, rear: float, half: float, low: float, high: float) -> None:
    for side in (1, -1):
        y, z = side * half, (low + high) / 2
        body.mesh.box((front, y, z), (0.08, 0.3, high - low), HEADLIGHT)
        body.mesh.box((rear, y, z + 0.1), (0.08, 0.26, high - low), TAILLIGHT)
        body.lights.append((front + 0.08, y, z, 0.55, (1.0, 0.95, 0.8)))
        body.lights.append((rear - 0.08, y, z + 0.1, 0.28, (1.0, 0.12, 0.08)))


def car(rng: np.random.Generator) -> Body:
    """Return a saloon, hatchback, estate, SUV, van or pickup."""
    kind = str(rng.choice(['saloon', 'hatch', 'estate', 'suv', 'van', 'pickup']))
    length = {'saloon': 4.6, 'hatch': 3.9, 'estate': 4.7, 'suv': 4.6, 'van': 4.9, 'pickup': 5.2}[
        kind
    ]
    roof = {'saloon': 1.45, 'hatch': 1.5, 'estate': 1.5, 'suv': 1.72, 'van': 1.95, 'pickup': 1.8}[
        kind
    ]
    length, roof = length * rng.uniform(0.94, 1.06), roof * rng.uniform(0.96, 1.04)
    half = rng.uniform(0.86, 0.96)
    body_colour, low = paint(rng), (0.3 if kind in ('suv', 'pickup') else 0.2)
    belt = 0.62 * roof if kind != 'van' else 0.55 * roof
    f, r = length / 2, -length / 2
    hood = {'van': f - 0.35, 'hatch': f - 0.85}.get(kind, f - 1.15)
    tail = {'saloon': r + 0.75, 'pickup': r + 1.7}.get(kind, r + 0.08)
    nose = belt * 0.78
    mesh = Mesh()
    rings = [
        _ring(f, half * 0.86, low + 0.12, nose * 0.85),
        _ring(f - 0.18, half, low, nose),
        _ring(hood, half, low, belt),
        _ring(tail, half, low, belt * 1.02),
        _ring(r + 0.12, half, low, belt * (0.8 if kind == 'pickup' else 1.0)),
        _ring(r, half * 0.9, low + 0.15, belt * 0.92),
    ]
    lower = shade(body_colour, 0.82)
    row = [lower, body_colour, body_colour, body_colour, lower, BLACK]
    mesh.loft(rings, [row] * 5, lower)
    screen, back = hood - rng.uniform(0.55, 0.85), tail + (0.5 if kind == 'saloon' else 0.22)
    glass = shade(GLASS, rng.uniform(0.7, 1.6))
    _greenhouse(mesh, (hood, screen, back, tail), half, belt, roof, glass, body_colour)
    radius = 0.36 if kind in ('suv', 'pickup') else 0.31
    _wheels(mesh, [f - 0.82, r + 0.8], half, radius)
    for side in (1, -1):
        mesh.box((screen + 0.25, side * (half + 0.08), belt + 0.1), (0.12, 0.2, 0.14), body_colour)
    mesh.box((f + 0.01, 0, low + 0.22), (0.06, half * 1.1, 0.16), BLACK)
    for x in (f + 0.03, r - 0.02):
        mesh.box((x, 0, low + 0.3), (0.03, 0.5, 0.11), (0.85, 0.85, 0.8))
    body = Body(0, mesh, (length, half * 2, roof))
    _lamps(body, f - 0.03, r + 0.03, half * 0.68, nose * 0.68, nose * 0.86)
    return body


def _greenhouse(
    mesh: Mesh,
    along: tuple[float, float, float, float],
    half: float,
    belt: float,
    roof: float,
    glass: Colour,
    colour: Colour,
) -> None:
    """Add a car's windows and roof.

    Args:
        mesh: of the car.
        along: where bonnet, windscreen, roof and rear window end, metres forward.
        half: half the car's width.
        belt, roof: heights of the windows' lower edge and of the roof.
        glass, colour: of the windows and of what is between them.
    """
    hood, screen, back, tail = along
    wide, top = half * 0.88, half * 0.7

    def house(x: float, w: float, z: float) -> np.ndarray:
        return np.array([[x, wide, belt], [x, w, z], [x, -w, z], [x, -wide, belt]])

    sides = [
        house(hood, wide, belt + 0.01),
        house(screen, top, roof),
        house(back, top, roof),
        house(tail, wide, belt + 0.01),
    ]
    mesh.loft(
        sides,
        [
            [glass, glass, glass, BLACK],
            [glass, colour, glass, BLACK],
            [glass, glass, glass, BLACK],
        ],
        colour,
    )
    for x in (screen - 0.03, (screen + back) / 2, back + 0.05):
        for side in (1, -1):
            w = 0.05
            quad = [
                (x + w, side * (wide + 0.012), belt),
                (x - w, side * (wide + 0.012), belt),
                (x - w, side * (top + 0.012), roof),
                (x + w, side * (top + 0.012), roof),
            ]
            mesh.face(quad if side > 0 else quad[::-1], colour)


def truck(rng: np.random.Generator) -> Body:
    """Return a lorry with a box, a flatbed with load, a tipper or a tanker."""
    kind = str(rng.choice(['box', 'box', 'flat', 'tipper', 'tank']))
    length, half = rng.uniform(6.5, 10.5), rng.uniform(1.1, 1.25)
    cab_l, cab_h, floor = rng.uniform(1.7, 2.2), rng.uniform(2.5, 3.0), 0.95
    height = rng.uniform(3.1, 3.8) if kind == 'box' else cab_h
    f, r = length / 2, -length / 2
    colour, load = vivid(rng), vivid(rng) if rng.random() < 0.5 else paint(rng)
    mesh = Mesh()
    mesh.box((f - cab_l / 2, 0, 0.45 + (cab_h - 0.45) / 2), (cab_l, 2 * half, cab_h - 0.45), colour)
    mesh.box((f + 0.01, 0, cab_h * 0.7), (0.04, half * 1.8, cab_h * 0.26), GLASS)
    for side in (1, -1):
        mesh.box((f - 0.75, side * half, cab_h * 0.7), (0.85, 0.04, cab_h * 0.24), GLASS)
        mesh.box((f + 0.1, side * (half + 0.15), cab_h * 0.68), (0.1, 0.22, 0.5), BLACK)
    mesh.box((f + 0.02, 0, 0.75), (0.06, half * 1.7, 0.5), BLACK)
    mesh.box(((r + f - cab_l) / 2, 0, floor - 0.15), (length - cab_l, half * 1.2, 0.3), BLACK)
    bed, mid = length - cab_l - 0.25, (r + f - cab_l - 0.25) / 2
    if kind == 'box':
        side_texture = 'cargo' if rng.random() < 0.6 else ''
        mesh.box(
            (mid, 0, (floor + height) / 2),
            (bed, 2 * half, height - floor),
            load,
            {'y+': side_texture, 'y-': side_texture},
        )
        mesh.box(
            (r - 0.01, 0, (floor + height) / 2),
            (0.02, half * 1.8, (height - floor) * 0.9),
            shade(load, 0.8),
        )
    elif kind == 'tank':
        mesh.cylinder((r + 0.05, 0, floor + 1.0), (r + bed, 0, floor + 1.0), 1.0, load, load, 12)
    else:
        wall = 0.55 if kind == 'flat' else 1.25
        mesh.box((mid, 0, floor + 0.05), (bed, 2 * half, 0.12), (0.35, 0.27, 0.2))
        for side in (1, -1):
            mesh.box((mid, side * half, floor + wall / 2), (bed, 0.08, wall), load)
        mesh.box((r, 0, floor + wall / 2), (0.08, 2 * half, wall), load)
        for _ in range(int(rng.integers(1, 4))):
            w = rng.uniform(0.8, 1.6)
            at = (mid + rng.uniform(-0.35, 0.35) * bed, rng.uniform(-0.3, 0.3), floor + 0.1 + w / 2)
            mesh.box(at, (w, w, w), vivid(rng))
    axles = [f - 1.0, r + 1.0] + ([r + 2.3] if length > 8 else [])
    _wheels(mesh, axles, half, 0.48, 0.35)
    body = Body(1, mesh, (length, half * 2, max(height, cab_h)))
    _lamps(body, f + 0.03, r - 0.03, half * 0.78, 0.62, 0.82)
    return body


def bus(rng: np.random.Generator) -> Body:
    """Return a city bus or coach, sometimes a minibus."""
    length, half = float(rng.choice([7.5, 10.5, 12.0])), rng.uniform(1.2, 1.28)
    height = rng.uniform(2.9, 3.3)
    f, r = length / 2, -length / 2
    colour, stripe = vivid(rng) if rng.random() < 0.7 else paint(rng), vivid(rng)
    mesh = Mesh()
    ring = [
        np.array(
            [
                [x, w, 0.35],
                [x, w, height - 0.25],
                [x, w - 0.2, height],
                [x, 0.2 - w, height],
                [x, -w, height - 0.25],
                [x, -w, 0.35],
            ]
        )
        for x, w in ((f, half - 0.06), (f - 0.15, half), (r + 0.12, half), (r, half - 0.05))
    ]
    mesh.loft(ring, [[colour, colour, shade(colour, 1.1), colour, colour, BLACK]] * 3, colour)
    low, high = 1.25, height - 0.42
    n = max(4, int(length / 1.45))
    pitch = (length - 0.7) / n
    for side in (1, -1):
        y = side * (half + 0.01)
        mesh.box((0, y, 0.85), (length - 0.3, 0.02, 0.35), stripe)
        for i in range(n):
            x = r + 0.35 + pitch * (i + 0.5)
            mesh.box((x, y, (low + high) / 2), (pitch * 0.86, 0.025, high - low), GLASS)
        if side < 0:
            for x in (f - 1.1, f - length * 0.55):
                mesh.box((x, y * 1.01, 1.4), (1.1, 0.03, 2.0), shade(GLASS, 1.5))
    mesh.box((f + 0.01, 0, (low + high) / 2 - 0.05), (0.04, half * 1.8, high - low + 0.25), GLASS)
    mesh.box((f + 0.015, 0, height - 0.22), (0.05, half * 1.3, 0.26), (0.9, 0.6, 0.1))
    mesh.box((r - 0.01, 0, (low + high) / 2 + 0.1), (0.04, half * 1.5, 0.75), GLASS)
    _wheels(
        mesh,
        [f - 2.0 if length > 8 else f - 1.2, r + 2.2 if length > 8 else r + 1.5],
        half,
        0.47,
        0.3,
    )
    body = Body(2, mesh, (length, half * 2, height))
    _lamps(body, f + 0.03, r - 0.03, half * 0.78, 0.6, 0.8)
    return body
