"""Motorcycles and bicycles with their riders, and pedestrians, all random."""

from __future__ import annotations

import numpy as np

from yolox_trt_ros.sim.world.bodies import BLACK, HUB, TYRE, Body, Limb, paint, shade, vivid
from yolox_trt_ros.sim.world.mesh import Colour, Mesh

SKIN: tuple[Colour, ...] = (
    (0.87, 0.68, 0.56),
    (0.78, 0.57, 0.42),
    (0.55, 0.37, 0.26),
    (0.36, 0.24, 0.17),
)


def _rider(
    mesh: Mesh, rng: np.random.Generator, seat: tuple[float, float], lean: float, helmet: bool
) -> tuple[Colour, Colour]:
    x, z = seat
    coat, trousers = vivid(rng) if rng.random() < 0.7 else paint(rng), paint(rng)
    shoulder = (x + lean, 0.0, z + 0.52)
    mesh.cylinder((x, 0, z), shoulder, 0.17, coat, coat, 7, 0.2)
    head = (shoulder[0] + 0.05, 0.0, shoulder[2] + 0.23)
    skin = SKIN[int(rng.integers(len(SKIN)))]
    mesh.sphere(head, (0.11, 0.1, 0.14), skin, 4, 6)
    if helmet:
        mesh.sphere((head[0], 0, head[2] + 0.04), (0.15, 0.14, 0.13), vivid(rng), 4, 7)
    for side in (1, -1):
        hand = (x + lean + 0.42, side * 0.25, z + 0.22)
        mesh.cylinder((shoulder[0], side * 0.2, shoulder[2] - 0.05), hand, 0.06, coat, skin, 5)
    return coat, trousers


def _leg(hip_to_foot: tuple[float, float], colour: Colour) -> Mesh:
    dx, dz = hip_to_foot
    knee = (dx * 0.5 + 0.16, 0.0, dz * 0.48)
    mesh = Mesh().cylinder((0, 0, 0), knee, 0.085, colour, None, 5, 0.065)
    mesh.cylinder(knee, (dx, 0, dz), 0.062, colour, None, 5, 0.05)
    return mesh.box((dx + 0.07, 0, dz), (0.26, 0.09, 0.09), BLACK)


def motorcycle(rng: np.random.Generator) -> Body:
    """Return a motorcycle or scooter with a helmeted rider, parked ones without."""
    colour, ridden = vivid(rng), rng.random() < 0.85
    base = rng.uniform(1.3, 1.5)
    radius = rng.uniform(0.28, 0.33)
    f, r = base / 2, -base / 2
    mesh = Mesh()
    for x in (f, r):
        mesh.cylinder((x, -0.07, radius), (x, 0.07, radius), radius, TYRE, TYRE, 12)
        mesh.cylinder((x, -0.08, radius), (x, 0.08, radius), radius * 0.5, HUB, HUB, 7)
    mesh.box((0.0, 0, 0.48), (0.75, 0.3, 0.36), BLACK)
    mesh.box((0.18, 0, 0.76), (0.5, 0.3, 0.26), colour, taper=0.75)
    mesh.box((-0.38, 0, 0.78), (0.72, 0.28, 0.14), BLACK)
    mesh.box((r + 0.05, 0, 0.75), (0.35, 0.2, 0.16), colour)
    mesh.cylinder((f, 0, radius), (f - 0.28, 0, 0.98), 0.06, HUB, None, 5)
    mesh.box((f - 0.16, 0, 0.9), (0.22, 0.34, 0.4), colour, taper=0.7)
    mesh.cylinder((f - 0.3, -0.38, 1.02), (f - 0.3, 0.38, 1.02), 0.03, BLACK, BLACK, 5)
    mesh.cylinder((0.1, -0.2, 0.35), (r, -0.22, 0.4), 0.06, HUB, HUB, 6)
    body = Body(3, mesh, (base + 2 * radius, 0.75, 1.6 if ridden else 1.15))
    if ridden:
        _, trousers = _rider(mesh, rng, (-0.3, 0.84), rng.uniform(0.1, 0.3), True)
        for side in (1, -1):
            body.limbs.append(Limb((-0.28, side * 0.18, 0.84), _leg((0.3, -0.5), trousers), 0, 0))
    if rng.random() < 0.3:
        mesh.box((r - 0.05, 0, 1.0), (0.4, 0.42, 0.36), vivid(rng))
    body.lights.append((f + 0.02, 0.0, 0.92, 0.5, (1.0, 0.95, 0.8)))
    body.lights.append((r - 0.15, 0.0, 0.8, 0.25, (1.0, 0.12, 0.08)))
    return body


def bicycle(rng: np.random.Generator) -> Body:
    """Return a bicycle with a pedalling rider, parked ones without."""
    colour, ridden = vivid(rng), rng.random() < 0.85
    radius, base = rng.uniform(0.32, 0.36), rng.uniform(1.0, 1.12)
    f, r = base / 2, -base / 2
    mesh = Mesh()
    for x in (f, r):
        wheel = [
            (x + a * radius, 0.0, radius + b * radius)
            for a, b in ((-1, -1), (1, -1), (1, 1), (-1, 1))
        ]
        mesh.face(wheel, (1, 1, 1), 'spokes').face(wheel[::-1], (1, 1, 1), 'spokes')
    crank, seat, head = (-0.08, 0.0, 0.3), (-0.24, 0.0, 0.86), (f - 0.2, 0.0, 0.82)
    for a, b in (
        (crank, seat),
        (crank, head),
        (seat, head),
        (crank, (r, 0, radius)),
        (seat, (r, 0, radius)),
        (head, (f, 0, radius)),
    ):
        mesh.cylinder(a, b, 0.026, colour, None, 5)
    mesh.cylinder(head, (f - 0.24, 0, 1.02), 0.026, BLACK, None, 5)
    mesh.cylinder((f - 0.22, -0.28, 1.02), (f - 0.22, 0.28, 1.02), 0.024, BLACK, BLACK, 5)
    mesh.box((seat[0] - 0.03, 0, 0.92), (0.27, 0.14, 0.07), BLACK)
    if rng.random() < 0.3:
        mesh.box((f - 0.02, 0, 0.86), (0.3, 0.36, 0.25), (0.4, 0.3, 0.2))
    body = Body(4, mesh, (base + 2 * radius, 0.56, 1.7 if ridden else 1.05))
    if ridden:
        _, trousers = _rider(mesh, rng, (-0.24, 0.93), rng.uniform(0.12, 0.32), rng.random() < 0.6)
        for side, phase in ((1, 0.0), (-1, 0.5)):
            leg = _leg((0.2, -0.68), trousers)
            body.limbs.append(Limb((-0.22, side * 0.11, 0.92), leg, 14, phase))
    body.lights.append((f + 0.05, 0.0, 0.85, 0.25, (1.0, 1.0, 0.9)))
    body.lights.append((r - 0.1, 0.0, 0.6, 0.18, (1.0, 0.12, 0.08)))
    return body


def pedestrian(rng: np.random.Generator) -> Body:
    """Return a walking person of any height from a child's up, with or without bag and skirt."""
    height = rng.uniform(1.05, 1.35) if rng.random() < 0.12 else rng.uniform(1.55, 1.92)
    s = height / 1.75
    coat = vivid(rng) if rng.random() < 0.65 else paint(rng)
    trousers, skin = paint(rng) if rng.random() < 0.7 else vivid(rng), SKIN[int(rng.integers(4))]
    hair = shade(SKIN[int(rng.integers(4))], rng.uniform(0.25, 0.7))
    hip, shoulder = 0.9 * s, 1.43 * s
    mesh = Mesh()
    ring = [
        np.array([[d * s, w * s, z], [-d * s, w * s, z], [-d * s, -w * s, z], [d * s, -w * s, z]])
        for d, w, z in (
            (0.11, 0.16, hip - 0.06 * s),
            (0.12, 0.16, 1.1 * s),
            (0.13, 0.22, shoulder - 0.08 * s),
            (0.06, 0.1, shoulder + 0.03 * s),
        )
    ]
    mesh.loft(ring[::-1], [[coat] * 4] * 3, coat)
    mesh.cylinder((0, 0, shoulder), (0.02, 0, 1.54 * s), 0.055 * s, skin, None, 5)
    mesh.sphere((0.02, 0, 1.63 * s), (0.1 * s, 0.085 * s, 0.125 * s), skin, 4, 7)
    mesh.sphere((-0.01, 0, 1.67 * s), (0.11 * s, 0.1 * s, 0.1 * s), hair, 4, 7)
    if rng.random() < 0.25:
        mesh.box((-0.22 * s, 0, 1.2 * s), (0.2 * s, 0.3 * s, 0.45 * s), vivid(rng))
    skirt = rng.random() < 0.25
    if skirt:
        mesh.cylinder((0, 0, 0.45 * s), (0, 0, hip), 0.24 * s, coat, coat, 7, 0.16 * s)
        trousers = skin
    stride = rng.uniform(18, 30)
    body = Body(5, mesh, (0.6 * s, 0.55 * s, height))
    for side, phase in ((1, 0.0), (-1, 0.5)):
        shin = Mesh().cylinder((0, 0, 0), (0, 0, -0.4 * s), 0.065 * s, trousers, None, 5, 0.05 * s)
        shin.box((0.06 * s, 0, -0.42 * s), (0.26 * s, 0.1 * s, 0.09 * s), BLACK)
        thigh = Mesh().cylinder((0, 0, 0), (0, 0, -0.44 * s), 0.09 * s, trousers, None, 6, 0.07 * s)
        knee = Limb((0, 0, -0.43 * s), shin, stride * 0.6, phase + 0.2)
        body.limbs.append(Limb((0, side * 0.09 * s, hip), thigh, stride, phase, [knee]))
        arm = Mesh().cylinder((0, 0, 0), (0, 0, -0.3 * s), 0.06 * s, coat, None, 5, 0.05 * s)
        arm.cylinder(
            (0, 0, -0.29 * s), (0.08 * s, 0, -0.55 * s), 0.048 * s, coat, None, 5, 0.04 * s
        )
        arm.box((0.09 * s, 0, -0.6 * s), (0.08 * s, 0.06 * s, 0.11 * s), skin)
        at = (0, side * 0.24 * s, shoulder - 0.04 * s)
        body.limbs.append(Limb(at, arm, stride * 0.8, phase + 0.5))
    return body
