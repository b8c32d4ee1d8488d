"""Run detectors on labelled pictures."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from yolox_trt_ros.core.class_names import matching
from yolox_trt_ros.core.errors import ConfigError, FrameError
from yolox_trt_ros.core.printing import one_line
from yolox_trt_ros.datasets.faults import Fault, Faults
from yolox_trt_ros.datasets.labelled import LabelledBoxes, LabelledData
from yolox_trt_ros.datasets.places import add_other_size, add_unreadable
from yolox_trt_ros.detector import Detector
from yolox_trt_ros.evaluation.coco_metrics import Found
from yolox_trt_ros.evaluation.mask_metrics import MaskScore
from yolox_trt_ros.evaluation.matching import numbering
from yolox_trt_ros.image_files import read_image

MAX_DETECTIONS = 100
"""Per image, as COCO's evaluation counts them."""


@dataclass(frozen=True, slots=True, eq=False)
class LabelledSample:
    """One labelled picture.

    Attributes:
        name: for people.
        bgr: uint8 (height, width, 3).
        labels: classes numbered as in the names of the data.
        mask: uint8 (height, width), class of each pixel; None: nobody knows.
    """

    name: str
    bgr: np.ndarray
    labels: LabelledBoxes
    mask: np.ndarray | None = None


@dataclass(frozen=True, slots=True, eq=False)
class LabelledPictures:
    """Pictures with labels, from files or rendered.

    Attributes:
        name: for reports.
        classes: names; an empty one is of labels that are left out.
        count: how many pictures there are, at most.
        samples: begins again from the first picture at every call.
        faults: what is wrong with them; grows while they are read.
        mask_classes: names of the classes of pixels; empty: they have no masks.
    """

    name: str
    classes: tuple[str, ...]
    count: int
    samples: Callable[[], Iterator[LabelledSample]]
    faults: Faults
    mask_classes: tuple[str, ...] = ()


def pictures_of(data: LabelledData) -> LabelledPictures:
    """Return the pictures of a data set; those that are missing or damaged are counted."""
    faults = Faults()
    faults.join(data.faults)

    def samples() -> Iterator[LabelledSample]:
        used = 0
        for image in data.images:
            try:
                bgr = read_image(image.file)
            except FrameError as error:
                add_unreadable(faults, image.file, error)
                continue
            add_other_size(faults, image, *bgr.shape[:2])
            used += 1
            yield LabelledSample(image.name, bgr, image.boxes)
        if not used:
            raise ConfigError(
                f'{one_line(data.name)}: no picture can be read: {"; ".join(faults.sentences())}'
            )

    return LabelledPictures(data.name, data.classes, len(data.images), samples, faults)


def world_pictures(split: str, worlds: int) -> LabelledPictures:
    """Return the images of rendered worlds with their labels.

    Raises:
        MissingDependencyError: the renderer is not installed.
    """
    from yolox_trt_ros.sim.world.bodies import CLASSES
    from yolox_trt_ros.sim.world.dataset import PER_WORLD, render_masks
    from yolox_trt_ros.sim.world.truth import MASK_CLASSES

    def samples() -> Iterator[LabelledSample]:
        for index in range(worlds):
            for k, (camera, bgr, truth, mask) in enumerate(render_masks(split, index)):
                boxes = LabelledBoxes(
                    truth.xyxy, truth.class_id, truth.ignored, None, truth.distance_m
                )
                yield LabelledSample(f'world {index}, {camera.name} {k // 8}', bgr, boxes, mask)

    name = f'world {split}'
    return LabelledPictures(
        name, tuple(CLASSES), worlds * PER_WORLD, samples, Faults(), MASK_CLASSES
    )


def shared_classes(known: Sequence[str], pictures: LabelledPictures) -> list[str]:
    """Return the labelled classes that a model knows; standard error names the others.

    Raises:
        ConfigError: there is none.
    """
    named = filter(None, pictures.classes)
    shared = list(dict.fromkeys(name for name in named if matching(name, known) is not None))
    if not shared:
        raise ConfigError(
            f'the model knows {one_line(", ".join(known))}; none of these is labelled here: '
            f'{one_line(", ".join(pictures.classes))}'
        )
    for name in sorted(set(pictures.classes) - {*shared, ''}):
        print(
            f'labels of class "{one_line(name)}" are left out: the model does not know it',
            file=sys.stderr,
        )
    return shared


Watch = Callable[[LabelledSample, LabelledBoxes, Found], None]
"""Sees each picture with its labels and the first model's detections, classes as shared."""


def measure(
    detectors: Sequence[Detector],
    shared: Sequence[str],
    pictures: LabelledPictures,
    watch: Watch | None = None,
    masks: MaskScore | None = None,
) -> tuple[list[LabelledBoxes], list[list[Found]]]:
    """Return each image's labels, and for each model what it finds; classes as in ``shared``.

    All models see the same images. Labels of other classes are counted as left out. ``masks``
    counts the pixels of the first one's masks.
    """
    from rich.progress import track

    from yolox_trt_ros.cli.console import Console

    of_label = numbering(pictures.classes, shared)
    of_model = [numbering(detector.labels, shared) for detector in detectors]
    labels: list[LabelledBoxes] = []
    found: list[list[Found]] = [[] for _ in detectors]
    console = Console(stderr=True)
    samples = track(
        pictures.samples(), 'measuring', pictures.count, console=console, transient=True
    )
    for sample in samples:
        truth = sample.labels.numbered(of_label[sample.labels.class_id])
        if other := len(sample.labels) - len(truth):
            pictures.faults.add(Fault.NOT_KNOWN, one_line(sample.name), other)
        labels.append(truth)
        for detector, of_class, results in zip(detectors, of_model, found, strict=True):
            boxes = detector(sample.bgr)
            if masks and detector is detectors[0] and sample.mask is not None:
                assert boxes.segmentation
                masks.add(sample.mask, boxes.segmentation)
            theirs = of_class[boxes.class_id]
            known = theirs >= 0
            results.append((boxes.xyxy[known], boxes.score[known], theirs[known]))
        if watch:
            watch(sample, truth, found[0][-1])
    return labels, found
