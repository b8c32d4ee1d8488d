"""Write a data set in another format, with its pictures."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path, PurePosixPath

import numpy as np

from yolox_trt_ros.core.errors import ConfigError, FrameError, YoloxTrtRosError
from yolox_trt_ros.core.printing import one_line
from yolox_trt_ros.datasets.faults import Faults
from yolox_trt_ros.datasets.formats import FORMATS
from yolox_trt_ros.datasets.labelled import LabelledData, LabelledImage
from yolox_trt_ros.datasets.places import add_unreadable, picture_size, safe_name
from yolox_trt_ros.image_files import write_image

PLACING = ('link', 'copy', 'none')
"""What is done with pictures: symbolic links, copies, nothing."""

Progress = Callable[[Iterable[LabelledImage], str], Iterable[LabelledImage]]


def convert(
    data: LabelledData, to: str, folder: Path, *, split: str, placing: str, progress: Progress
) -> Faults:
    """Write labels and pictures; return what the format has no place for, and what is missing.

    Args:
        data: what is written.
        to: one of :data:`datasets.formats.FORMATS`.
        folder: where to.
        split: name of the part, such as ``val``.
        placing: one of :data:`PLACING`.
        progress: shows how far it is.

    Raises:
        ConfigError: two pictures would have the same label file.
        YoloxTrtRosError: something cannot be written.
    """
    found, images = Faults(), []
    _check_names(data, to)
    for image in progress(data.images, 'writing pictures'):
        try:
            width, height = (image.width, image.height)
            if not (width and height) or not os.path.isfile(image.file):
                width, height = picture_size(image.file)
        except FrameError as error:
            if image.width and image.height and placing == 'none':
                width, height = image.width, image.height  # labels alone need no picture
            else:
                add_unreadable(found, image.file, error)
                continue
        if placing != 'none':
            _place(image.file, folder / FORMATS[to].pictures / safe_name(image.name), placing)
        images.append(replace(image, width=width, height=height))
    found.join(FORMATS[to].write(replace(data, images=images), folder, split))
    return found


def _check_names(data: LabelledData, to: str) -> None:
    """Refuse pictures whose labels or pictures would be written to one file."""
    seen: dict[str, str] = {}
    for image in data.images:
        name = safe_name(image.name)
        key = name if to in ('coco', 'bdd100k') else PurePosixPath(name).with_suffix('').as_posix()
        if key in seen:
            raise ConfigError(
                f'{one_line(image.name)} and {one_line(seen[key])} would have one name in {to}: '
                'rename one of them'
            )
        seen[key] = image.name


def _place(source: Path, target: Path, placing: str) -> None:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.exists() and os.path.samefile(source, target):
            return
        target.unlink(missing_ok=True)  # never write through a link of an earlier conversion
        if placing == 'copy':
            shutil.copyfile(source, target)
        else:
            target.symlink_to(source.resolve())
    except OSError as error:
        raise YoloxTrtRosError(
            f'{one_line(target)}: cannot be written: {error.strerror}'
        ) from error


def export_world(
    world: str,
    worlds: int,
    to: str,
    folder: Path,
    progress: Callable[[Iterable[int], str], Iterable[int]],
    split: str = '',
) -> Faults:
    """Write rendered worlds of a split as a data set; the pictures are PNG, without loss.

    Road users that are too small, hidden or hazy are ignored, as ``evaluate --world`` does.

    Raises:
        MissingDependencyError: the renderer is not installed.
    """
    from yolox_trt_ros.datasets.labelled import LabelledBoxes
    from yolox_trt_ros.sim.world.bodies import CLASSES
    from yolox_trt_ros.sim.world.dataset import render_world

    images = []
    place = folder / FORMATS[to].pictures
    for index in progress(range(worlds), 'rendering worlds'):
        for k, (camera, bgr, truth) in enumerate(render_world(world, index)):
            name = f'{world}_{index:05}_{k:02}_{camera.name}.png'
            write_image(place / name, bgr)
            boxes = LabelledBoxes(
                truth.xyxy, truth.class_id, truth.ignored, None, truth.distance_m.astype(np.float64)
            )
            images.append(LabelledImage(name, place / name, bgr.shape[1], bgr.shape[0], boxes))
    data = LabelledData(f'world {world}', to, tuple(CLASSES), images)
    return FORMATS[to].write(data, folder, split or world)
