"""Light and weather of a world, drawn from its seed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from yolox_trt_ros.core.errors import ConfigError, did_you_mean
from yolox_trt_ros.sim.world.mesh import Colour

LIGHTS = ('day', 'dusk', 'night')
WEATHERS = ('clear', 'overcast', 'rain', 'fog')


@dataclass(frozen=True)
class Conditions:
    """What the light and the air do to the picture; colours are RGB, 0 to 1.

    Attributes:
        light, weather: one of :data:`LIGHTS` and :data:`WEATHERS`.
        sun, ambient: colours of the directional and of the even light.
        sun_azimuth_deg, sun_elevation_deg: where the sun stands in the vehicle frame.
        zenith, horizon: colours of the sky; the air takes that of the horizon.
        visibility_m: distance over which the air swallows 63 % of the light.
        darkness: 0 at day to 1 at night: lamps and lit windows show.
        rain: 0 to 1.
        cloud: 0 to 1.
    """

    light: str
    weather: str
    sun: Colour
    ambient: Colour
    sun_azimuth_deg: float
    sun_elevation_deg: float
    zenith: Colour
    horizon: Colour
    visibility_m: float
    darkness: float
    rain: float
    cloud: float


_LOOK: dict[str, tuple[Colour, Colour, Colour, Colour]] = {
    # sun, ambient, zenith, horizon
    'day': ((0.80, 0.76, 0.68), (0.50, 0.52, 0.56), (0.30, 0.50, 0.82), (0.74, 0.83, 0.92)),
    'dusk': ((0.62, 0.36, 0.18), (0.32, 0.30, 0.38), (0.24, 0.27, 0.45), (0.86, 0.58, 0.40)),
    'night': ((0.09, 0.09, 0.13), (0.19, 0.18, 0.19), (0.03, 0.04, 0.07), (0.12, 0.12, 0.15)),
}


def draw(
    rng: np.random.Generator, light: str | None = None, weather: str | None = None
) -> Conditions:
    """Draw conditions; ``light`` and ``weather`` fix what would otherwise be random.

    Raises:
        ConfigError: an unknown light or weather.
    """
    for name, value, valid in (('light', light, LIGHTS), ('weather', weather, WEATHERS)):
        if value is not None and value not in valid:
            raise ConfigError(f'world {name} "{value}" is unknown{did_you_mean(value, valid)}')
    drawn_light = str(rng.choice(LIGHTS, p=[0.55, 0.2, 0.25]))
    drawn_weather = str(rng.choice(WEATHERS, p=[0.45, 0.25, 0.17, 0.13]))
    light, weather = light or drawn_light, weather or drawn_weather
    sun, ambient, zenith, horizon = (np.array(c) for c in _LOOK[light])
    jitter = rng.uniform(0.9, 1.1) * rng.uniform(0.97, 1.03, 3)
    grey = {'clear': 0.0, 'overcast': 0.75, 'rain': 0.9, 'fog': 1.0}[weather]
    cloud = {'clear': rng.uniform(0, 0.45), 'overcast': 0.85, 'rain': 0.95, 'fog': 1.0}[weather]
    flat = np.full(3, (zenith.mean() + 2 * horizon.mean()) / 3)
    zenith, horizon = zenith * (1 - grey) + flat * grey * 0.92, horizon * (1 - grey) + flat * grey
    ambient = ambient * (1 + 0.55 * grey * float(sun.mean()))
    sun = sun * (1 - 0.88 * grey)
    visibility = {
        'clear': rng.uniform(350, 800),
        'overcast': rng.uniform(250, 600),
        'rain': rng.uniform(110, 260),
        'fog': rng.uniform(38, 95),
    }[weather]
    darkness = {'day': 0.0, 'dusk': rng.uniform(0.3, 0.6), 'night': 1.0}[light]
    if weather == 'fog' and light == 'day':
        darkness = 0.25
    elevation = {'day': rng.uniform(25, 65), 'dusk': rng.uniform(6, 15), 'night': 50.0}[light]

    def colour(c: np.ndarray) -> Colour:
        r, g, b = np.clip(c * jitter, 0, 1)
        return (float(r), float(g), float(b))

    return Conditions(
        light,
        weather,
        colour(sun),
        colour(ambient),
        float(rng.uniform(0, 360)),
        float(elevation),
        colour(zenith),
        colour(horizon),
        float(visibility),
        float(darkness),
        float(rng.uniform(0.4, 1.0)) if weather == 'rain' else 0.0,
        float(cloud),
    )
