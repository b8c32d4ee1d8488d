"""What is where, and when: a street around the vehicle, drawn from a seed; NumPy only.

The street runs along x. Everything is kept relative to the vehicle and wraps around at
:data:`REACH`, so the drive never ends. All positions are in the vehicle frame except that y
counts from the middle of the road until :attr:`Scene.ego_y` is taken off.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from yolox_trt_ros.sim.world import riders, scenery, vehicles
from yolox_trt_ros.sim.world.bodies import CLASSES, Body
from yolox_trt_ros.sim.world.conditions import Conditions, draw
from yolox_trt_ros.sim.world.mesh import Mesh

REACH = 156.0
"""Half the length of the street in metres; it repeats beyond."""
LANE = 3.4
TEXTURES = 4
MAKERS = {
    'car': vehicles.car,
    'truck': vehicles.truck,
    'bus': vehicles.bus,
    'motorcycle': riders.motorcycle,
    'bicycle': riders.bicycle,
    'pedestrian': riders.pedestrian,
}
"""Class name to the function that makes a random body of it."""
_TRAFFIC = {'car': 0.46, 'truck': 0.13, 'bus': 0.10, 'motorcycle': 0.18, 'bicycle': 0.13}


@dataclass
class Item:
    """One thing: an index into the scene's bodies or meshes, its place at t = 0 and its motion.

    Attributes:
        shape: index into :attr:`Scene.bodies` if ``moving_body`` else :attr:`Scene.meshes`.
        is_body: whether it is a road user (labelled) or scenery.
        x, y: metres; y from the middle of the road.
        heading_deg: 0 looks along +x.
        vx: speed over ground along x, m/s.
        vy, span: speed along y in m/s, to and fro between −span and +span; 0 for none.
        phase: of the limbs, turns at t = 0.
        cadence: limb turns per second.
    """

    shape: int
    is_body: bool
    x: float
    y: float
    heading_deg: float = 0.0
    vx: float = 0.0
    vy: float = 0.0
    span: float = 0.0
    phase: float = 0.0
    cadence: float = 0.0


@dataclass
class RoadSection:
    """Cross-section of the road in metres and what lines it."""

    lanes: int
    parking: bool
    cycleway: bool
    pavement: float
    style: str
    crossings: list[float]

    @property
    def half(self) -> float:
        """Return the half width from kerb to kerb."""
        return self.lanes * LANE + 2.3 * self.parking + 1.7 * self.cycleway

    def at_crossing(self, x: float, margin: float = 9.0) -> bool:
        """Return whether x lies in the mouth of a side street."""
        return any(abs(wrap(x - c)) < margin for c in self.crossings)


@dataclass
class Scene:
    """A world: shapes, items and conditions; the same for the same seed."""

    seed: int
    conditions: Conditions
    street: RoadSection
    ego_y: float
    ego_speed: float
    bodies: list[Body] = field(default_factory=list)
    meshes: list[Mesh] = field(default_factory=list)
    items: list[Item] = field(default_factory=list)

    def pose(self, item: Item, t_s: float) -> tuple[float, float, float]:
        """Return x, y (vehicle frame, metres) and heading (degrees) at a time in seconds."""
        x = wrap(item.x + (item.vx - self.ego_speed) * t_s)
        y, heading = item.y, item.heading_deg
        if item.vy:
            progress = (item.y + item.span + abs(item.vy) * t_s) % (4 * item.span)
            y = progress - item.span if progress < 2 * item.span else 3 * item.span - progress
            heading = 90.0 if progress < 2 * item.span else -90.0
        return x, y - self.ego_y, heading


def wrap(x: float) -> float:
    """Bring x into −REACH to REACH."""
    return (x + REACH) % (2 * REACH) - REACH


def build(seed: int, light: str | None = None, weather: str | None = None) -> Scene:
    """Return the world of a seed (any non-negative integer); light and weather may be fixed."""
    rng = np.random.default_rng(seed)
    conditions = draw(rng)
    if light or weather:
        # Drawn from a source of its own, so that the street stays that of the seed.
        conditions = draw(np.random.default_rng([seed, 3]), light, weather)
    lanes = int(rng.choice([1, 2], p=[0.45, 0.55]))
    street = RoadSection(
        lanes,
        bool(rng.random() < 0.65),
        bool(rng.random() < 0.45),
        float(rng.uniform(2.5, 5.0)),
        str(rng.choice(['town', 'mixed', 'green'], p=[0.5, 0.3, 0.2])),
        [float(rng.uniform(-120, 120))] + ([float(rng.uniform(-120, 120))] * (rng.random() < 0.4)),
    )
    speed = 0.0 if rng.random() < 0.15 else float(rng.uniform(5, 14))
    scene = Scene(seed, conditions, street, -LANE * (int(rng.integers(lanes)) + 0.5), speed)
    busy = float(rng.uniform(0.5, 1.4))
    _shapes(scene, rng)
    _traffic(scene, rng, busy)
    _kerbside(scene, rng, busy)
    _walkers(scene, rng, busy)
    _roadside(scene, rng)
    _side_streets(scene, rng)
    return scene


_VARIANTS = {'car': 12, 'truck': 5, 'bus': 4, 'motorcycle': 6, 'bicycle': 6, 'pedestrian': 12}


def _shapes(scene: Scene, rng: np.random.Generator) -> None:
    for name, count in _VARIANTS.items():
        scene.bodies.extend(MAKERS[name](rng) for _ in range(count))


def _pick(scene: Scene, rng: np.random.Generator, name: str) -> int:
    class_id = CLASSES.index(name)
    return int(rng.choice([i for i, b in enumerate(scene.bodies) if b.class_id == class_id]))


def _put(
    scene: Scene, rng: np.random.Generator, name: str, x: float, y: float, **motion: float
) -> float:
    """Add a road user and return its length."""
    shape = _pick(scene, rng, name)
    moving = motion.get('vx') or motion.get('vy')
    cadence = {'pedestrian': 0.9, 'bicycle': 1.1}.get(name, 0.0) if moving else 0.0
    scene.items.append(
        Item(shape, True, x, y, phase=float(rng.random()), cadence=cadence, **motion)
    )
    return scene.bodies[shape].size[0]


def _traffic(scene: Scene, rng: np.random.Generator, busy: float) -> None:
    names, weights = list(_TRAFFIC), list(_TRAFFIC.values())
    for direction in (1, -1):
        for lane in range(scene.street.lanes):
            middle = -direction * LANE * (lane + 0.5)
            ego_lane = abs(middle - scene.ego_y) < 0.1
            speed = scene.ego_speed if ego_lane else float(rng.uniform(0, 13))
            x = -REACH + rng.uniform(0, 15)
            while x < REACH - 8:
                name = str(rng.choice(names, p=weights))
                if not (ego_lane and abs(x + 5) < 15):
                    y = middle + rng.uniform(-0.35, 0.35)
                    if name in ('bicycle', 'motorcycle'):
                        y = middle - direction * rng.uniform(-0.6, 1.2)
                    heading = (0.0 if direction > 0 else 180.0) + rng.uniform(-3, 3)
                    _put(scene, rng, name, x, y, vx=direction * speed, heading_deg=heading)
                x += 7 + float(rng.exponential(16 / busy)) + (5 if name in ('truck', 'bus') else 0)


def _kerbside(scene: Scene, rng: np.random.Generator, busy: float) -> None:
    street = scene.street
    for side in (1, -1):
        if street.cycleway:
            y, direction = side * (street.lanes * LANE + 0.85), -side
            for _ in range(int(rng.integers(3, 10))):
                _put(
                    scene,
                    rng,
                    'bicycle',
                    rng.uniform(-REACH, REACH),
                    y + rng.uniform(-0.3, 0.3),
                    vx=direction * rng.uniform(2.5, 6),
                    heading_deg=0.0 if direction > 0 else 180.0,
                )
        if not street.parking:
            continue
        y, x = side * (street.half - 1.15), -REACH
        fill = rng.uniform(0.3, 0.9)
        while x < REACH - 6:
            if rng.random() < fill and not street.at_crossing(x):
                name = str(
                    rng.choice(['car', 'truck', 'motorcycle', 'bus'], p=[0.8, 0.08, 0.08, 0.04])
                )
                angle = (0.0 if rng.random() < 0.5 else 180.0) + rng.uniform(-3, 3)
                if name == 'motorcycle':
                    angle += 60
                _put(scene, rng, name, x, y, heading_deg=angle)
                x += 4 if name in ('truck', 'bus') else 0
            x += rng.uniform(6.0, 7.5)


def _walkers(scene: Scene, rng: np.random.Generator, busy: float) -> None:
    street = scene.street
    for side in (1, -1):
        for _ in range(int(rng.integers(6, 26) * busy)):
            x, y = (
                rng.uniform(-REACH, REACH),
                side * (street.half + rng.uniform(0.5, street.pavement)),
            )
            direction = float(rng.choice([1, -1]))
            pace = float(rng.uniform(0.9, 1.7)) if rng.random() < 0.8 else 0.0
            angle = (0.0 if direction > 0 else 180.0) if pace else rng.uniform(0, 360)
            for k in range(int(rng.choice([1, 1, 1, 2, 3]))):
                at = (x + rng.uniform(-0.4, 0.4), y + 0.6 * k * side)
                motion = {'vx': direction * pace} if pace else {}
                _put(
                    scene,
                    rng,
                    'pedestrian',
                    *at,
                    heading_deg=angle + rng.uniform(-12, 12),
                    **motion,
                )
        for _ in range(int(rng.integers(0, 5))):
            x, y = (
                rng.uniform(-REACH, REACH),
                side * (street.half + rng.uniform(0.4, street.pavement)),
            )
            _put(scene, rng, 'bicycle', x, y, heading_deg=rng.uniform(0, 360))
    for c in street.crossings:
        for _ in range(int(rng.integers(0, 6))):
            span = street.half + 2.0
            _put(
                scene,
                rng,
                'pedestrian',
                c + rng.choice([-1, 1]) * rng.uniform(7.5, 10.5),
                rng.uniform(-span, span),
                vy=rng.uniform(0.9, 1.7),
                span=span,
            )


def _add(scene: Scene, mesh: Mesh) -> int:
    scene.meshes.append(mesh)
    return len(scene.meshes) - 1


def _roadside(scene: Scene, rng: np.random.Generator) -> None:
    street = scene.street
    kinds = {
        'tree': [_add(scene, scenery.tree(rng)) for _ in range(4)],
        'bush': [_add(scene, scenery.bush(rng)) for _ in range(3)],
        'lamp': [_add(scene, scenery.lamp(rng))],
        'signal': [_add(scene, scenery.signal(rng)) for _ in range(2)],
        'sign': [_add(scene, scenery.sign(rng)) for _ in range(3)],
        'furniture': [_add(scene, scenery.furniture(rng)) for _ in range(5)],
        'shelter': [_add(scene, scenery.shelter(rng))],
        'fence': [_add(scene, scenery.fence(rng)) for _ in range(2)],
    }
    widths = [float(rng.uniform(9, 17)) for _ in range(7)]
    houses = [_add(scene, scenery.building(rng, w, TEXTURES)) for w in widths]

    def place(kind: str, x: float, y: float, heading: float) -> None:
        if not street.at_crossing(x):
            scene.items.append(Item(int(rng.choice(kinds[kind])), False, x, y, heading))

    for side in (1, -1):
        facing = 0.0 if side > 0 else 180.0
        kerb, edge = street.half + 0.5, street.half + street.pavement + 0.6
        for x in np.arange(-REACH, REACH, 26.0):
            place('lamp', x + 3, side * kerb, facing)
        for x in np.arange(-REACH, REACH, rng.uniform(8, 22)):
            if rng.random() < (0.45 if street.style == 'town' else 0.8):
                place('tree', x + rng.uniform(-3, 3), side * (kerb + 0.4), rng.uniform(0, 360))
        for kind, count in (('sign', 7), ('furniture', 14), ('shelter', 1)):
            for _ in range(count):
                place(kind, rng.uniform(-REACH, REACH), side * (kerb + rng.uniform(0, 0.8)), facing)
        x, built = -REACH, {'town': 0.95, 'mixed': 0.6, 'green': 0.15}[street.style]
        while x < REACH - 12:
            k = int(rng.integers(len(houses)))
            middle = x + widths[k] / 2
            if rng.random() < built and not street.at_crossing(middle, 7 + widths[k] / 2):
                y = side * (edge + rng.choice([0.0, 0.0, 4.0]))
                scene.items.append(Item(houses[k], False, middle, y, facing))
            else:
                place('fence', middle, side * edge, facing)
                for _ in range(4):
                    far = side * (edge + rng.uniform(1, 16))
                    place(
                        str(rng.choice(['tree', 'bush'])),
                        x + rng.uniform(0, widths[k]),
                        far,
                        rng.uniform(0, 360),
                    )
            x += widths[k] + rng.choice([0.0, 0.0, 2.5])
        for c in street.crossings:
            for dx in (-7.2, 7.2):
                at = Item(
                    int(rng.choice(kinds['signal'])),
                    False,
                    c + dx,
                    side * kerb,
                    rng.choice([0.0, 90.0]),
                )
                scene.items.append(at)


def _side_streets(scene: Scene, rng: np.random.Generator) -> None:
    names, weights = list(_TRAFFIC), list(_TRAFFIC.values())
    for c in scene.street.crossings:
        for side in (1, -1):
            y = scene.street.half + rng.uniform(3, 7)
            while y < 70 and rng.random() < 0.8:
                name = str(rng.choice(names, p=weights))
                waiting = rng.random() < 0.6
                x = c + side * (-1.8 if waiting else 1.8)
                heading = -90.0 * side if waiting else 90.0 * side
                length = _put(scene, rng, name, x, side * (y + 3), heading_deg=heading)
                y += length + rng.uniform(3, 12)
