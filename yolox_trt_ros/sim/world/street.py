"""A scene as Panda3D nodes: ground, road users, scenery, shadows and lamps."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np

from yolox_trt_ros.sim.world import textures
from yolox_trt_ros.sim.world.bodies import Limb
from yolox_trt_ros.sim.world.mesh import Colour, Mesh
from yolox_trt_ros.sim.world.scene import LANE, REACH, TEXTURES, Item, Scene
from yolox_trt_ros.sim.world.stage import NUMBER_PASS, geometry, p3d, texture

GROUND = 1
"""Object number of the ground; items follow from 2, the sky is 0."""
_DASH = 12.0
_WHITE: Colour = (0.85, 0.85, 0.83)
_DEEP = REACH + 24


class StreetModel:
    """The node tree of one scene; ``root`` is in the vehicle frame.

    Flat things on the ground are drawn in painter's order without depth: nothing lies below.
    """

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        rng = np.random.default_rng([scene.seed, 1])
        self._images = _textures(scene, rng)
        self._shared: dict[int | str, Any] = {}
        self.root = p3d.NodePath('vehicle')
        self.root.node().setBounds(p3d.OmniBoundingVolume())
        self._light()
        self._sky()
        self._nodes: list[tuple[Item, Any, list[tuple[Any, Limb, Item]]]] = []
        self._ground, self._dashes = self._floor()
        bodies = [geometry(b.mesh, self._images) for b in scene.bodies]
        meshes = [geometry(m, self._images) for m in scene.meshes]
        for number, item in enumerate(scene.items, GROUND + 1):
            node = self.root.attachNewNode('item')
            node.attachNewNode((bodies if item.is_body else meshes)[item.shape])
            node.setTag('number', str(number))
            limbs: list[tuple[Any, Limb, Item]] = []
            if item.is_body:
                body = scene.bodies[item.shape]
                for limb in body.limbs:
                    self._limb(node, limb, item, limbs)
                self._shadow(node, body.size)
                if scene.conditions.darkness > 0.2:
                    for x, y, z, radius, colour in body.lights:
                        self._glow(
                            node, (x, y, z), radius * (0.5 + scene.conditions.darkness), colour
                        )
            self._nodes.append((item, node, limbs))
        self._night_lamps()

    def place(self, t_s: float) -> None:
        """Move everything to where it is at a time in seconds."""
        scene = self.scene
        driven = scene.ego_speed * t_s
        self._ground.setX(-(driven % _DASH))
        self._dashes.setX(-(driven % _DASH))
        for item, node, limbs in self._nodes:
            x, y, heading = scene.pose(item, t_s)
            node.setPosHpr(x, y, 0, heading, 0, 0)
            for joint, limb, owner in limbs:
                angle = (owner.phase + owner.cadence * t_s + limb.phase) * 2 * math.pi
                swing = math.sin(angle) if owner.cadence else 0.25 * math.sin(angle)
                joint.setR(limb.amplitude_deg * swing)

    def _limb(self, parent: Any, limb: Limb, item: Item, out: list[tuple[Any, Limb, Item]]) -> None:
        if id(limb) not in self._shared:
            self._shared[id(limb)] = geometry(limb.mesh, self._images)
        joint = parent.attachNewNode(self._shared[id(limb)])
        joint.setPos(*limb.pivot)
        out.append((joint, limb, item))
        for child in limb.children:
            self._limb(joint, child, item, out)

    def _light(self) -> None:
        c = self.scene.conditions
        ambient = p3d.AmbientLight('ambient')
        ambient.setColor(p3d.LColor(*c.ambient, 1))
        sun = p3d.DirectionalLight('sun')
        sun.setColor(p3d.LColor(*c.sun, 1))
        node = self.root.attachNewNode(sun)
        node.setHpr(c.sun_azimuth_deg, -c.sun_elevation_deg, 0)
        self.root.setLight(self.root.attachNewNode(ambient))
        self.root.setLight(node)

    def _sky(self) -> None:
        c = self.scene.conditions
        mesh, zenith, horizon = Mesh(), np.array(c.zenith), np.array(c.horizon)
        levels = np.radians([-12, 0, 5, 12, 25, 45, 89])
        for low, high in pairwise(levels):
            for k in range(16):
                a, b = k * math.pi / 8, (k + 1) * math.pi / 8
                quad = [
                    (math.cos(h) * math.cos(e), math.cos(h) * math.sin(e), math.sin(h))
                    for h, e in ((low, a), (high, a), (high, b), (low, b))
                ]
                mix = np.sin(np.clip((low + high) / 2, 0, 1.5)) ** 0.6
                colour = tuple(float(v) for v in horizon * (1 - mix) + zenith * mix)
                uv = np.array(
                    [
                        [a * 1.3, low * 2.5],
                        [a * 1.3, high * 2.5],
                        [b * 1.3, high * 2.5],
                        [b * 1.3, low * 2.5],
                    ],
                    np.float32,
                )
                mesh.face(np.array(quad) * 600, colour, 'sky', uv)  # type: ignore[arg-type]
        node = self.root.attachNewNode(geometry(mesh, self._images))
        node.setLightOff(1)
        _flat(node, 0)

    def _floor(self) -> tuple[Any, Any]:
        street, scene = self.scene.street, self.scene
        half, walk = street.half, street.half + street.pavement + 0.6
        bands = [
            (-_DEEP, -walk, 'grass'),
            (-walk, -half, 'paving'),
            (-half, half, 'asphalt'),
            (half, walk, 'paving'),
            (walk, _DEEP, 'grass'),
        ]
        wet = 0.62 if scene.conditions.rain else 1.0
        mesh = Mesh()
        for x in np.arange(-_DEEP - _DASH, _DEEP + _DASH, _DASH):
            for low, high, name in bands:
                uv = np.array(
                    [[0, low / 4], [3, low / 4], [3, high / 4], [0, high / 4]], np.float32
                )
                tint = (wet, wet, wet * 1.03) if name != 'grass' else (1, 1, 1)
                mesh.face(
                    [(x, low, 0), (x + _DASH, low, 0), (x + _DASH, high, 0), (x, high, 0)],
                    tint,
                    name,
                    uv,
                )
        ground = self.root.attachNewNode(geometry(mesh, self._images))
        ground.setY(-scene.ego_y)
        ground.setTag('number', str(GROUND))
        _flat(ground, 10)
        dashes = self.root.attachNewNode(geometry(self._markings(), self._images))
        dashes.setY(-scene.ego_y)
        dashes.hide(NUMBER_PASS)
        _flat(dashes, 20)
        self._mouths()
        return ground, dashes

    def _markings(self) -> Mesh:
        street, mesh = self.scene.street, Mesh()
        half, edge = street.half, street.lanes * LANE

        def stripe(x0: float, x1: float, y: float, w: float, colour: Colour = _WHITE) -> None:
            mesh.face([(x0, y - w, 0), (x1, y - w, 0), (x1, y + w, 0), (x0, y + w, 0)], colour)

        for x in np.arange(-_DEEP - _DASH, _DEEP + _DASH, _DASH):
            for side in (1, -1):
                stripe(x, x + _DASH, side * 0.12 if street.lanes > 1 else 0, 0.06)
                for lane in range(1, street.lanes):
                    stripe(x, x + 4.5, side * lane * LANE, 0.07)
                if edge < half:
                    stripe(x, x + _DASH, side * edge, 0.06)
                stripe(x, x + _DASH, side * (half + 0.08), 0.1, (0.6, 0.6, 0.58))
        return mesh

    def _mouths(self) -> None:
        """Add the side streets and zebra crossings as items of the ground."""
        scene, half = self.scene, self.scene.street.half
        patch = Mesh()
        for side in (1, -1):
            for k in range(10):
                low, high = half + k * 9, half + (k + 1) * 9
                uv = np.array(
                    [[0, low / 4], [3, low / 4], [3, high / 4], [0, high / 4]], np.float32
                )
                quad = [
                    (-6, side * low, 0),
                    (6, side * low, 0),
                    (6, side * high, 0),
                    (-6, side * high, 0),
                ]
                patch.face(quad[::side], (0.95, 0.95, 0.95), 'asphalt', uv[::side])
        zebra = Mesh()
        for x in (-8.8, 8.8):
            for y in np.arange(-half + 0.4, half - 0.4, 1.0):
                zebra.face(
                    [
                        (x - 1.3, y, 0),
                        (x + 1.3, y, 0),
                        (x + 1.3, y + 0.5, 0),
                        (x - 1.3, y + 0.5, 0),
                    ],
                    _WHITE,
                )
        for mesh, sort in ((patch, 12), (zebra, 21)):
            node = geometry(mesh, self._images)
            for c in scene.street.crossings:
                path = self.root.attachNewNode('mouth')
                path.attachNewNode(node)
                path.hide(NUMBER_PASS)
                _flat(path, sort)
                self._nodes.append((Item(0, False, c, 0.0), path, []))

    def _decal(
        self, parent: Any, name: str, size: tuple[float, float], colour: Any, sort: int
    ) -> Any:
        if name not in self._shared:
            quad = [(-1, -1, 0), (1, -1, 0), (1, 1, 0), (-1, 1, 0)]
            self._shared[name] = geometry(Mesh().face(quad, (1, 1, 1), name), self._images)
        node = parent.attachNewNode('decal')
        node.attachNewNode(self._shared[name])
        node.setScale(*size, 1)
        node.setLightOff(1)
        node.setColorScale(p3d.LColor(*colour))
        node.setTransparency(p3d.TransparencyAttrib.MAlpha, 50)
        node.hide(NUMBER_PASS)
        if sort:
            _flat(node, sort)
        return node

    def _shadow(self, node: Any, size: tuple[float, float, float]) -> None:
        c = self.scene.conditions
        self._decal(node, 'slab', (size[0] * 0.56, size[1] * 0.62), (0, 0, 0, 0.62), 31)
        strength = float(np.mean(c.sun))
        if c.light == 'night' or strength < 0.25:
            return
        # The sun's shadow: the slab again, moved away from the sun by the body's shear.
        length = min(size[2] / math.tan(math.radians(c.sun_elevation_deg)), 5.0) * 0.5
        holder = node.attachNewNode('shadow')
        holder.setCompass(self.root)
        azimuth = math.radians(c.sun_azimuth_deg + 90)
        shade = self._decal(
            holder, 'slab', (size[0] * 0.55, size[1] * 0.6), (0, 0, 0, 0.45 * strength + 0.1), 30
        )
        holder.setPos(0, 0, 0)
        shade.setPos(math.cos(azimuth) * length, math.sin(azimuth) * length, 0)

    def _glow(
        self, node: Any, at: tuple[float, float, float], radius: float, colour: Colour
    ) -> None:
        card = p3d.CardMaker('glow')
        card.setFrame(-radius, radius, -radius, radius)
        path = node.attachNewNode(card.generate())
        path.setPos(*at)
        path.setBillboardPointEye()
        path.setTexture(self._images['glow'])
        path.setColor(p3d.LColor(*colour, 1))
        path.setLightOff(1)
        path.setDepthWrite(False)
        path.setAttrib(
            p3d.ColorBlendAttrib.make(
                p3d.ColorBlendAttrib.MAdd,
                p3d.ColorBlendAttrib.OIncomingAlpha,
                p3d.ColorBlendAttrib.OOne,
            )
        )
        path.setBin('fixed', 40)
        path.hide(NUMBER_PASS)

    def _night_lamps(self) -> None:
        dark = self.scene.conditions.darkness
        if dark < 0.3:
            return
        for item, node, _ in self._nodes:
            shape = None if item.is_body else self.scene.meshes[item.shape]
            if shape is not None and item.y and len(shape.faces) == 17:
                self._glow(node, (0, -1.7, 6.6), 1.2 * dark, (1.0, 0.85, 0.55))
                pool = self._decal(node, 'glow', (9, 9), (1.0, 0.8, 0.5, 0.5 * dark), 25)
                pool.setY(-2.5)


def _flat(node: Any, sort: int) -> None:
    node.setBin('background', sort)
    node.setDepthTest(False)
    node.setDepthWrite(False)


def _textures(scene: Scene, rng: np.random.Generator) -> dict[str, Any]:
    dark = scene.conditions.darkness
    images = {
        'grass': textures.ground(rng, 'grass'),
        'leaves': textures.ground(rng, 'leaves'),
        'paving': textures.ground(rng, 'paving'),
        'asphalt': textures.ground(rng, 'asphalt'),
        'cargo': textures.cargo(rng),
        'spokes': textures.spokes(),
        'glow': textures.blob(2.0),
        'slab': textures.slab(),
        'sky': textures.sky(rng, scene.conditions.cloud),
    }
    for k in range(TEXTURES):
        images[f'facade{k}'] = textures.facade(rng, dark)
        images[f'shop{k}'] = textures.shopfront(rng, dark)
    clamp = {'glow', 'slab', 'spokes'}
    return {name: texture(image, name not in clamp) for name, image in images.items()}
