"""Panda3D's software renderer: offscreen buffers for colour and object numbers. No GPU needed.

Everything that knows Panda3D is here and in :mod:`street`; the pictures of both passes come
out as NumPy arrays.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from yolox_trt_ros.core.errors import MissingDependencyError
from yolox_trt_ros.sim.world.mesh import Mesh
from yolox_trt_ros.sim.world.rig import PinholeCamera

try:
    from panda3d import core as p3d
except ImportError as error:
    raise MissingDependencyError(
        'the rendered world needs Panda3D, which is not installed: pip install panda3d'
    ) from error

NEAR_M, FAR_M = 0.25, 1200.0
_CONFIG = """
load-display p3tinydisplay
window-type offscreen
audio-library-name null
textures-power-2 up
notify-level-display error
td-perspective-textures 1
garbage-collect-states 1
"""


def texture(image: np.ndarray, repeat: bool = True) -> Any:
    """Return a Panda3D texture of uint8 (h, w, 3 or 4) RGB(A), its first row at the bottom."""
    h, w, channels = image.shape
    out = p3d.Texture()
    layout = p3d.Texture.FRgba if channels == 4 else p3d.Texture.FRgb
    out.setup2dTexture(w, h, p3d.Texture.TUnsignedByte, layout)
    order = [2, 1, 0, 3][:channels]
    out.setRamImage(np.ascontiguousarray(image[..., order]).tobytes())
    mode = p3d.SamplerState.WMRepeat if repeat else p3d.SamplerState.WMClamp
    out.setWrapU(mode)
    out.setWrapV(mode)
    out.setMinfilter(p3d.SamplerState.FTLinearMipmapLinear)
    out.setMagfilter(p3d.SamplerState.FTLinear)
    return out


def geometry(mesh: Mesh, textures: dict[str, Any]) -> Any:
    """Return a Panda3D ``GeomNode`` with one geometry per texture of the mesh."""
    node = p3d.GeomNode('mesh')
    for name, (vertices, triangles) in mesh.triangles().items():
        data = p3d.GeomVertexData('v', _vertex_format(), p3d.Geom.UHStatic)
        data.uncleanSetNumRows(len(vertices))
        data.modifyArrayHandle(0).setData(vertices.tobytes())
        primitive = p3d.GeomTriangles(p3d.Geom.UHStatic)
        primitive.setIndexType(p3d.Geom.NTUint16)
        indices = primitive.modifyVertices()
        indices.uncleanSetNumRows(triangles.size)
        indices.modifyHandle().setData(triangles.tobytes())
        geom = p3d.Geom(data)
        geom.addPrimitive(primitive)
        state = p3d.RenderState.makeEmpty()
        if name:
            state = state.addAttrib(p3d.TextureAttrib.make(textures[name]))
            if textures[name].getFormat() == p3d.Texture.FRgba:
                state = state.addAttrib(p3d.TransparencyAttrib.make(p3d.TransparencyAttrib.MBinary))
        node.addGeom(geom, state)
    return node


def _vertex_format() -> Any:
    array = p3d.GeomVertexArrayFormat()
    array.addColumn('vertex', 3, p3d.Geom.NTFloat32, p3d.Geom.CPoint)
    array.addColumn('normal', 3, p3d.Geom.NTFloat32, p3d.Geom.CNormal)
    array.addColumn('color', 4, p3d.Geom.NTFloat32, p3d.Geom.CColor)
    array.addColumn('texcoord', 2, p3d.Geom.NTFloat32, p3d.Geom.CTexcoord)
    layout = p3d.GeomVertexFormat()
    layout.addArray(array)
    return p3d.GeomVertexFormat.registerFormat(layout)


def number_colour(number: int) -> tuple[float, float, float, float]:
    """Return the flat colour that stands for a 15-bit object number in the number pass.

    Five bits a channel, in the middle of each step: the rasteriser rounds by up to one.
    """
    r, g, b = number & 31, (number >> 5) & 31, (number >> 10) & 31
    return ((r * 8 + 4) / 255, (g * 8 + 4) / 255, (b * 8 + 4) / 255, 1.0)


def numbers(bgra: np.ndarray) -> np.ndarray:
    """Return uint16 (h, w): the object numbers of a picture of the number pass."""
    word = np.ascontiguousarray(bgra).view(np.uint32)[..., 0]
    return (((word >> 19) & 31) | ((word >> 6) & 992) | ((word << 7) & 31744)).astype(np.uint16)


NUMBER_PASS = p3d.BitMask32.bit(2)
"""Camera mask to hide from the number pass: shadows, glows, markings."""

__all__ = ['NUMBER_PASS', 'Target', 'geometry', 'numbers', 'p3d', 'texture']


class Target:
    """A pair of offscreen buffers of one size, and the camera that looks into a scene.

    Args:
        width, height: pixels.
    """

    _engine: Any = None
    _pipe: Any = None

    def __init__(self, width: int, height: int) -> None:
        cls = type(self)
        if cls._engine is None:
            p3d.loadPrcFileData('', _CONFIG)
            cls._engine = p3d.GraphicsEngine.getGlobalPtr()
            cls._pipe = p3d.GraphicsPipeSelection.getGlobalPtr().makePipe(
                'TinyOffscreenGraphicsPipe'
            )
            # By default they are sorted by addresses in memory, so that chance decides which of two
            # surfaces at one depth is seen.
            bins = p3d.CullBinManager.getGlobalPtr()
            bins.setBinType('opaque', p3d.CullBinManager.BTUnsorted)
        self.size = (width, height)
        self._lens = p3d.PerspectiveLens()
        self._eye = p3d.NodePath('eye')
        self._windows, self._cameras, self._textures = [], [], []
        for k, mask in enumerate((1, 2)):
            window, out, node = self._buffer(k, mask)
            self._windows.append(window)
            self._textures.append(out)
            self._cameras.append(node)
        flat = p3d.NodePath('flat')
        flat.setTextureOff(100)
        flat.setLightOff(100)
        flat.setColor(p3d.LColor(*number_colour(0)), 100)
        flat.setColorScaleOff(100)
        flat.setTransparency(p3d.TransparencyAttrib.MNone, 100)
        self._cameras[1].setInitialState(flat.getState())
        self._cameras[1].setTagStateKey('number')

    def _buffer(self, sort: int, mask: int) -> tuple[Any, Any, Any]:
        width, height = self.size
        pixels = p3d.FrameBufferProperties()
        pixels.setRgbaBits(8, 8, 8, 8)
        pixels.setDepthBits(24)
        window = self._engine.makeOutput(
            self._pipe,
            f'pass{sort}',
            sort,
            pixels,
            p3d.WindowProperties.size(width, height),
            p3d.GraphicsPipe.BFRefuseWindow,
        )
        if window is None:
            raise RuntimeError(
                f"Panda3D's software renderer made no {width}x{height} buffer; expected one"
            )
        out = p3d.Texture()
        window.addRenderTexture(out, p3d.GraphicsOutput.RTMCopyRam, p3d.GraphicsOutput.RTPColor)
        window.setClearColor(p3d.LColor(0, 0, 0, 1))
        window.setClearColorActive(True)
        camera = p3d.Camera(f'camera{sort}')
        camera.setLens(self._lens)
        camera.setCameraMask(p3d.BitMask32.bit(mask))
        window.makeDisplayRegion().setCamera(self._eye.attachNewNode(camera))
        return window, out, camera

    def allow_numbers(self, count: int) -> None:
        """Make the tags ``number`` = '1' to ``str(count)`` known to the number pass."""
        for number in range(1, count + 1):
            state = p3d.RenderState.make(
                p3d.ColorAttrib.makeFlat(p3d.LColor(*number_colour(number))), 200
            )
            self._cameras[1].setTagState(str(number), state)

    def aim(self, root: Any, camera: PinholeCamera, jitter: tuple[float, float]) -> None:
        """Look at ``root`` (vehicle frame) through a camera, shifted by ``jitter`` pixels."""
        self._eye.reparentTo(root)
        r = camera.rotation()
        rows = (-r[:, 1], r[:, 0], r[:, 2])
        values = [v for row in rows for v in (*row, 0.0)] + [
            camera.x_m,
            camera.y_m,
            camera.z_m,
            1.0,
        ]
        self._eye.setMat(p3d.LMatrix4f(*(float(v) for v in values)))
        lens, (width, height) = self._lens, self.size
        lens.setFilmSize(width / camera.fx, height / camera.fy)
        lens.setFocalLength(1.0)
        dx = (width / 2 - camera.cx + jitter[0]) / camera.fx
        dy = (camera.cy - height / 2 + jitter[1]) / camera.fy
        lens.setFilmOffset(dx, dy)
        lens.setNearFar(NEAR_M, FAR_M)

    def shoot(self, pass_index: int) -> np.ndarray:
        """Render the colour pass (0) or the number pass (1).

        Returns:
            uint8 (h, w, 4) BGRA, bottom row first; a view that is valid until the next call.
        """
        for k, window in enumerate(self._windows):
            window.setActive(k == pass_index)
        self._engine.renderFrame()
        width, height = self.size
        raw = memoryview(self._textures[pass_index].getRamImage())
        return np.frombuffer(raw, np.uint8).reshape(height, width, 4)

    def close(self) -> None:
        """Free the buffers; calling it twice is allowed."""
        for window in self._windows:
            self._engine.removeWindow(window)
        self._windows = []
