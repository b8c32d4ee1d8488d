"""Procedural textures, 8-bit RGB or RGBA with sides that are powers of two; NumPy only."""

from __future__ import annotations

import numpy as np


def noise(rng: np.random.Generator, size: int, octaves: int = 5, rough: float = 0.55) -> np.ndarray:
    """Return tileable value noise, float32 (size, size), 0 to 1, smooth bilinear octaves."""
    total = np.zeros((size, size), np.float32)
    weight = 1.0
    for octave in range(octaves):
        n = min(size, 4 << octave)
        grid = rng.random((n, n)).astype(np.float32)
        at = np.arange(size) * n / size
        i, f = at.astype(int) % n, (at % 1).astype(np.float32)
        f = f * f * (3 - 2 * f)
        rows = grid[i] * (1 - f)[:, None] + grid[(i + 1) % n] * f[:, None]
        total += weight * (rows[:, i] * (1 - f) + rows[:, (i + 1) % n] * f)
        weight *= rough
    return (total - total.min()) / (total.max() - total.min())


def _rgb(grey: np.ndarray, low: tuple[float, ...], high: tuple[float, ...]) -> np.ndarray:
    out = np.asarray(low) + grey[..., None] * (np.asarray(high) - np.asarray(low))
    return np.clip(out * 255, 0, 255).astype(np.uint8)


def ground(rng: np.random.Generator, kind: str) -> np.ndarray:
    """Return uint8 (256, 256, 3) of ``asphalt``, ``paving``, ``grass`` or ``leaves``."""
    if kind == 'grass':
        return _rgb(noise(rng, 256, 6, 0.75), (0.16, 0.24, 0.10), (0.38, 0.46, 0.22))
    base = noise(rng, 256, 6, 0.8)
    if kind == 'leaves':
        return _rgb(base, (0.55, 0.55, 0.5), (1.0, 1.0, 0.95))
    if kind == 'asphalt':
        g = rng.uniform(0.24, 0.36)
        return _rgb(base, (g * 0.85,) * 3, (g * 1.2, g * 1.2, g * 1.22))
    g = rng.uniform(0.45, 0.62)
    tile = _rgb(base, (g * 0.85, g * 0.84, g * 0.8), (g * 1.1, g * 1.08, g * 1.04))
    tile[::32] = (tile[::32] * 0.7).astype(np.uint8)
    tile[:, ::32] = (tile[:, ::32] * 0.7).astype(np.uint8)
    return tile


def facade(rng: np.random.Generator, night: float) -> np.ndarray:
    """Return uint8 (256, 256, 3): four storeys of four windows; lit windows as ``night`` grows."""
    wall = rng.choice(
        [
            (0.62, 0.45, 0.36),
            (0.70, 0.66, 0.58),
            (0.55, 0.55, 0.56),
            (0.75, 0.7, 0.6),
            (0.45, 0.33, 0.29),
            (0.66, 0.6, 0.5),
            (0.5, 0.56, 0.6),
        ]
    )
    image = np.asarray(wall) * (0.82 + 0.3 * noise(rng, 256, 6, 0.7)[..., None])
    if rng.random() < 0.5:
        image[::8] *= 0.86
    w, h = int(rng.integers(22, 50)), int(rng.integers(30, 50))
    for row in range(4):
        for col in range(4):
            y0, x0 = row * 64 + (64 - h) // 2, col * 64 + (64 - w) // 2
            lit = rng.random() < 0.45 * night
            glass = (
                np.array([1.0, 0.85, 0.5]) * rng.uniform(1.2, 2.4)
                if lit
                else np.array([0.20, 0.25, 0.31]) * rng.uniform(0.5, 1.6)
            )
            image[y0 - 3 : y0 + h + 3, x0 - 3 : x0 + w + 3] *= 0.75
            image[y0 : y0 + h, x0 : x0 + w] = glass * (
                1 - 0.25 * np.linspace(0, 1, h)[:, None, None]
            )
            image[y0 : y0 + h, x0 + w // 2 - 1 : x0 + w // 2 + 1] = 0.7 * np.asarray(wall)
    return np.clip(image[::-1] * 255, 0, 255).astype(np.uint8)


def shopfront(rng: np.random.Generator, night: float) -> np.ndarray:
    """Return uint8 (256, 256, 3): a row of shop windows below signs."""
    image = np.full((256, 256, 3), 0.35) * (0.8 + 0.4 * noise(rng, 256)[..., None])
    for i in range(2):
        x0 = i * 128 + 8
        sign = rng.uniform(0.15, 0.9, 3)
        image[10:58, x0 - 4 : x0 + 116] = sign
        for k in range(int(rng.integers(4, 9))):
            image[24:44, x0 + 12 + k * 11 : x0 + 19 + k * 11] = 1 - sign
        glow = np.array([1.0, 0.9, 0.65]) * (0.35 + 1.2 * night * rng.random())
        image[66:238, x0 : x0 + 78] = glow * (0.4 + 0.6 * noise(rng, 256)[66:238, :78, None])
        image[66:250, x0 + 84 : x0 + 112] = rng.uniform(0.1, 0.5, 3)
    return np.clip(image[::-1] * 255, 0, 255).astype(np.uint8)


def cargo(rng: np.random.Generator) -> np.ndarray:
    """Return uint8 (128, 256, 3): the lettered side of a lorry, near white so that paint shows."""
    image = np.full((128, 256, 3), 0.95)
    ink = rng.uniform(0.05, 0.8, 3)
    y = int(rng.integers(20, 60))
    for k in range(int(rng.integers(5, 10))):
        w = int(rng.integers(8, 20))
        image[y : y + 34, 24 + k * 22 : 24 + k * 22 + w] = ink
    image[96:106] = rng.uniform(0.1, 0.9, 3)
    image[:, ::32] *= 0.9
    return np.clip(image[::-1] * 255, 0, 255).astype(np.uint8)


def spokes() -> np.ndarray:
    """Return uint8 (128, 128, 4): a bicycle wheel, transparent between tyre and spokes."""
    y, x = np.mgrid[-1:1:128j, -1:1:128j]
    r, angle = np.hypot(x, y), np.arctan2(y, x)
    image = np.zeros((128, 128, 4), np.uint8)
    spoke = (np.abs((angle * 9 / np.pi) % 1 - 0.5) < 0.09 / np.maximum(r, 0.2)) & (r < 0.9)
    image[spoke] = (150, 150, 155, 255)
    image[(r > 0.84) & (r <= 1.0)] = (22, 22, 24, 255)
    image[(r > 0.8) & (r <= 0.84)] = (160, 160, 165, 255)
    image[r < 0.1] = (90, 90, 95, 255)
    return image


def blob(power: float) -> np.ndarray:
    """Return uint8 (64, 64, 4): white, its opacity falling off from the centre to the rim."""
    y, x = np.mgrid[-1:1:64j, -1:1:64j]
    image = np.full((64, 64, 4), 255, np.uint8)
    image[..., 3] = (np.clip(1 - np.hypot(x, y), 0, 1) ** power * 255).astype(np.uint8)
    return image


def slab() -> np.ndarray:
    """Return uint8 (64, 64, 4): white, opaque with soft edges, for the shadow below a vehicle."""
    edge = np.clip((1 - np.abs(np.linspace(-1, 1, 64))) * 3.0, 0, 1)
    image = np.full((64, 64, 4), 255, np.uint8)
    image[..., 3] = (np.outer(edge, edge) * 255).astype(np.uint8)
    return image


def sky(rng: np.random.Generator, cloud: float) -> np.ndarray:
    """Return uint8 (256, 256, 3): clouds, white on white where ``cloud`` is 0."""
    n = np.clip((noise(rng, 256, 6, 0.6) - (1 - cloud)) * 2.2, 0, 1)
    return _rgb(1 - n * 0.9, (0.78, 0.8, 0.84), (1.0, 1.0, 1.0))
