"""The road users: parametric bodies of the six classes, random in shape, size and colour."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from yolox_trt_ros.sim.world.mesh import Colour, Mesh

CLASSES = ('car', 'truck', 'bus', 'motorcycle', 'bicycle', 'pedestrian')
"""Class names in the order of their ids. A rider belongs to the box of the machine ridden."""

GLASS: Colour = (0.10, 0.13, 0.17)
TYRE: Colour = (0.06, 0.06, 0.07)
HUB: Colour = (0.55, 0.56, 0.58)
HEADLIGHT: Colour = (0.95, 0.95, 0.88)
TAILLIGHT: Colour = (0.65, 0.05, 0.04)
BLACK: Colour = (0.09, 0.09, 0.10)


@dataclass
class Limb:
    """A part that swings about a lateral axis: its pivot (m), mesh, amplitude and phase (turns)."""

    pivot: tuple[float, float, float]
    mesh: Mesh
    amplitude_deg: float
    phase: float
    children: list[Limb] = field(default_factory=list)


@dataclass
class Body:
    """A road user: origin on the ground below its centre, facing +x.

    Attributes:
        class_id: index into :data:`CLASSES`.
        mesh: the rigid part.
        size: length, width, height in metres.
        limbs: swinging parts.
        lights: (x, y, z, radius, colour) of lamps that glow at night.
    """

    class_id: int
    mesh: Mesh
    size: tuple[float, float, float]
    limbs: list[Limb] = field(default_factory=list)
    lights: list[tuple[float, float, float, float, Colour]] = field(default_factory=list)

    def corners(self) -> np.ndarray:
        """Return float32 (n, 3): the points of the body with its limbs at rest."""
        return np.concatenate([self.mesh.corners(), *_limb_corners(self.limbs, np.zeros(3))])


def _limb_corners(limbs: list[Limb], at: np.ndarray) -> list[np.ndarray]:
    points = []
    for limb in limbs:
        pivot = at + limb.pivot
        points += [limb.mesh.corners() + pivot, *_limb_corners(limb.children, pivot)]
    return points


def paint(rng: np.random.Generator) -> Colour:
    """Return a car colour: mostly white, grey and black as on the road, sometimes a bright one."""
    if rng.random() < 0.55:
        g = float(rng.choice([0.08, 0.2, 0.42, 0.62, 0.85, 0.92]) * rng.uniform(0.85, 1.05))
        return (g, g, min(1.0, g * 1.03))
    return vivid(rng)


def vivid(rng: np.random.Generator) -> Colour:
    """Return a random saturated colour."""
    hue, value, grey = rng.uniform(0, 6), rng.uniform(0.35, 0.9), rng.uniform(0.12, 0.65)
    rgb = [max(0.0, min(1.0, abs((hue + shift) % 6 - 3) - 1)) for shift in (0, 4, 2)]
    r, g, b = ((c * (1 - grey) + grey) * value for c in rgb)
    return (r, g, b)


def _scale(c: Colour, k: float) -> Colour:
    return (min(1, c[0] * k), min(1, c[1] * k), min(1, c[2] * k))


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
    lower = _scale(body_colour, 0.82)
    row = [lower, body_colour, body_colour, body_colour, lower, BLACK]
    mesh.loft(rings, [row] * 5, lower)
    # The greenhouse: windscreen, roof, rear window; side windows between the pillars.
    screen, back = hood - rng.uniform(0.55, 0.85), tail + (0.5 if kind == 'saloon' else 0.22)
    wide, top = half * 0.88, half * 0.7
    glass = _scale(GLASS, rng.uniform(0.7, 1.6))

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
            [glass, body_colour, glass, BLACK],
            [glass, glass, glass, BLACK],
        ],
        body_colour,
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
            mesh.face(quad if side > 0 else quad[::-1], body_colour)
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
            _scale(load, 0.8),
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
    mesh.loft(ring, [[colour, colour, _scale(colour, 1.1), colour, colour, BLACK]] * 3, colour)
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
                mesh.box((x, y * 1.01, 1.4), (1.1, 0.03, 2.0), _scale(GLASS, 1.5))
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


SKIN: tuple[Colour, ...] = (
    (0.87, 0.68, 0.56),
    (0.78, 0.57, 0.42),
    (0.55, 0.37, 0.26),
    (0.36, 0.24, 0.17),
)


def pedestrian(rng: np.random.Generator) -> Body:
    """Return a walking person of any height from a child's up, with or without bag and skirt."""
    height = rng.uniform(1.05, 1.35) if rng.random() < 0.12 else rng.uniform(1.55, 1.92)
    s = height / 1.75
    coat = vivid(rng) if rng.random() < 0.65 else paint(rng)
    trousers, skin = paint(rng) if rng.random() < 0.7 else vivid(rng), SKIN[int(rng.integers(4))]
    hair = _scale(SKIN[int(rng.integers(4))], rng.uniform(0.25, 0.7))
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


MAKERS = {
    'car': car,
    'truck': truck,
    'bus': bus,
    'motorcycle': motorcycle,
    'bicycle': bicycle,
    'pedestrian': pedestrian,
}
"""Class name to the function that makes a random body of it."""
