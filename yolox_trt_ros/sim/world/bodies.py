"""What a road user is made of: its class, rigid mesh, swinging limbs, lamps and colours."""

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


def shade(c: Colour, k: float) -> Colour:
    """Return a colour made darker or lighter by a factor."""
    return (min(1, c[0] * k), min(1, c[1] * k), min(1, c[2] * k))
