"""Check the vehicle: its file, model, engines and image transport."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from pathlib import Path

from yolox_trt_ros.compose import Model, lane_model, load_model, load_models
from yolox_trt_ros.core.backends import BACKENDS
from yolox_trt_ros.core.config import ModelConfig
from yolox_trt_ros.core.errors import EngineError, MissingDependencyError
from yolox_trt_ros.core.parameters import build
from yolox_trt_ros.core.resources import cache_folder
from yolox_trt_ros.doctor.finding import Finding, Severity, Wanted
from yolox_trt_ros.engine.lanes import lane_engine
from yolox_trt_ros.ros.dds import settings
from yolox_trt_ros.vehicle_files import load_vehicle

EXAMPLE = 'desktop_8cam'
"""Vehicle whose eight cameras of 7 MB an image are looked at where none is given."""

ENGINE_SPACE = 1 << 30


def cameras(wanted: Wanted) -> Iterator[Finding]:
    """Say what the vehicle file asks for; that it is valid was found out before."""
    if wanted.config is None:
        return
    lanes = [
        f'{x.name} ({x.backend} on {x.device}{x.reason and f": {x.reason}"})'
        for x in wanted.config.lanes
    ]
    rate = sum(camera.rate_hz for camera in wanted.config.cameras)
    message = f'{len(wanted.config.cameras)} cameras, {rate:g} images/s, on {", ".join(lanes)}'
    yield Finding(Severity.OK, 'vehicle', message)


def model(wanted: Wanted) -> Iterator[Finding]:
    """Read the model and its labels."""
    if wanted.config is None:
        yield _about('model', load_model(build(ModelConfig, {})))
        return
    for name, loaded in load_models(wanted.config).by_name.items():
        yield _about(f'model {name}' if name else 'model', loaded)


def _about(topic: str, loaded: Model) -> Finding:
    spec = loaded.spec
    message = (
        f'{loaded.path.name}: {spec.input.width}x{spec.input.height}, {len(spec.labels)} labels'
    )
    return Finding(Severity.OK, topic, message)


def engines(wanted: Wanted) -> Iterator[Finding]:
    """Judge whether the lanes' engines are built, and whether they have room."""
    if wanted.config is None or not wanted.builds:
        return
    settings = wanted.config.engines
    folder = Path(settings.folder).expanduser() if settings.folder else cache_folder('engines')
    existing = next(p for p in (folder, *folder.parents) if p.exists())
    free = shutil.disk_usage(existing).free
    if free < ENGINE_SPACE or not os.access(existing, os.W_OK):
        message = f'{folder}: {free >> 20} MiB free, writable: {os.access(existing, os.W_OK)}'
        yield Finding(Severity.FAIL, 'engine cache', message, 'make room, or set engines.folder')
    never = replace(settings, build='never')
    models = load_models(wanted.config).by_name
    for lane, (name, loaded) in product(wanted.config.lanes, models.items()):
        if not BACKENDS[lane.backend].builds:
            continue
        topic = f'engine of {lane.name}' + (f' for {name}' if name else '')
        try:
            lane_engine(lane, lane_model(lane, loaded), never)
            yield Finding(Severity.OK, topic, 'built and undamaged')
        except MissingDependencyError:
            return  # told elsewhere
        except EngineError as error:
            level = Severity.FAIL if settings.build == 'never' else Severity.WARN
            remedy = 'the first start builds it, or now: python -m yolox_trt_ros build --vehicle'
            yield Finding(level, topic, str(error).partition(';')[0], remedy)


def transport(wanted: Wanted) -> Iterator[Finding]:
    """Judge whether the images fit through the middleware as launch files start it."""
    config = wanted.config or load_vehicle(EXAMPLE)
    environ = {**os.environ, **settings.environment()}
    size = sum(map(settings.image_bytes, config.cameras)) / 1e6
    whose = 'the vehicle’s' if wanted.config else 'eight 1920x1280'
    shortcomings = settings.shortcomings(config, environ)
    for shortcoming in shortcomings:
        message, _, remedy = shortcoming.partition(': ')
        yield Finding(Severity.WARN, 'images', message, remedy)
    if unsized := settings.unsized(config):
        message = f'nobody says how large the images of {", ".join(unsized)} are'
        yield Finding(
            Severity.WARN, 'images', message, 'set cameras.<name>.encoding, width and height'
        )
    elif not shortcomings:
        yield Finding(Severity.OK, 'images', f'{whose} cameras, {size:.0f} MB at a time, fit')
