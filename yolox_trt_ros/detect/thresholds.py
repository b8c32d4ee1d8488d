"""From the parameters of model and cameras to what counts as a detection."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from yolox_trt_ros.core.camera_config import CameraConfig
from yolox_trt_ros.core.class_names import matching
from yolox_trt_ros.core.class_scores import read_score
from yolox_trt_ros.core.config import ModelConfig
from yolox_trt_ros.core.errors import ConfigError, did_you_mean
from yolox_trt_ros.core.model import Thresholds
from yolox_trt_ros.core.printing import shown
from yolox_trt_ros.core.regions import edges_of
from yolox_trt_ros.core.rules import Rules
from yolox_trt_ros.detect.class_map import ClassMap, read_class_map


def thresholds_of(
    labels: Sequence[str],
    model: ModelConfig,
    cameras: Iterable[CameraConfig] = (),
    shared: Sequence[str] = (),
) -> Thresholds:
    """Return what counts as a detection.

    Args:
        labels: of the model's classes.
        model: its parameters.
        cameras: whose images it gets.
        shared: names in the result that this model shares with others, all of its own among them;
            empty: it is alone.

    Raises:
        ConfigError: a class is none of the model's nor of the result's, or a file is no map; the
            message names the parameter.
    """
    classes = _Classes.of(labels, model.class_map, model.where).among(shared)
    kept = classes.kept(model.classes, f'{model.where}.classes')
    scores = np.full(len(labels), model.score_threshold)
    classes.put_scores(scores, model.class_thresholds, f'{model.where}.class_thresholds')
    common = Thresholds(
        nms_iou=model.nms_iou,
        class_agnostic=model.class_agnostic,
        max_detections=model.max_detections,
        clip_boxes=model.clip_boxes,
    )
    return replace(
        _with_rules(common, classes, scores, kept),
        cameras={
            camera.name: _of_camera(common, camera, classes, scores, kept)
            for camera in cameras
            if camera.has_rules
        },
    )


def names_in_result(labels: Sequence[str], model: ModelConfig) -> tuple[str, ...]:
    """Return what the result calls a model's classes if it is alone.

    Args:
        labels: of the model's classes.
        model: its parameters.

    Raises:
        ConfigError: its file is no map.
    """
    return _Classes.of(labels, model.class_map, model.where).names


def _of_camera(
    common: Thresholds,
    camera: CameraConfig,
    classes: _Classes,
    scores: np.ndarray,
    kept: np.ndarray,
) -> Thresholds:
    """Return a camera's thresholds: what it says itself goes before what the model says."""
    scores = scores.copy()
    if camera.score_threshold:
        scores[:] = camera.score_threshold
    name = f'cameras.{camera.name}.class_thresholds'
    classes.put_scores(scores, camera.class_thresholds, name)
    return _with_rules(common, classes, scores, kept, camera.ignore)


def _with_rules(
    common: Thresholds,
    classes: _Classes,
    scores: np.ndarray,
    kept: np.ndarray,
    ignore: Sequence[str] = (),
) -> Thresholds:
    limits = np.where(kept, scores, np.inf)
    edges = edges_of(ignore)
    rules = Rules(limits.astype(np.float32), classes.class_ids, classes.names, edges)
    return replace(common, score=float(limits.min()), rules=rules)


@dataclass(frozen=True, slots=True, eq=False)
class _Classes:
    """The classes of a model and what the result calls them.

    Attributes:
        labels: of the model's classes.
        names: in the result.
        class_ids: int32 (classes of the model,), index in ``names``.
        mapped: bool (classes of the model,), whether the map leaves them in.
    """

    labels: tuple[str, ...]
    names: tuple[str, ...]
    class_ids: np.ndarray
    mapped: np.ndarray

    @classmethod
    def of(cls, labels: Sequence[str], file: str, where: str) -> _Classes:
        """Return them as the map in a file says; without a file under their own names."""
        n = len(labels)
        if not file:
            return cls(tuple(labels), tuple(labels), np.arange(n, dtype=np.int32), np.ones(n, bool))
        try:
            return cls._mapped(labels, read_class_map(Path(file).expanduser()))
        except ConfigError as error:
            raise ConfigError(f'{where}.class_map: {error}') from error

    @classmethod
    def _mapped(cls, labels: Sequence[str], given: ClassMap) -> _Classes:
        targets: dict[int, str | None] = {}
        for source, target in given.targets:
            if given.names and matching(source, labels) is None:
                continue  # Autoware's file is one for all of its models
            number = _number(source, labels, given.file)
            if number in targets:
                raise ConfigError(f'{given.file}: class {shown(labels[number])} is there twice')
            targets[number] = target
        missing = [labels[i] for i in range(len(labels)) if i not in targets]
        if given.names and missing:
            raise ConfigError(
                f'{given.file}: expected every class of the model, {shown(missing[0])} is missing'
            )
        names = list(given.names)
        # Those of the file in its order; classes that it does not name keep their names.
        for name in (*targets.values(), *missing):
            if name is not None and matching(name, names) is None:
                names.append(name)
        wanted = [targets.get(i, label) for i, label in enumerate(labels)]
        found = [None if name is None else matching(name, names) for name in wanted]
        class_ids = [0 if name is None else names.index(name) for name in found]
        mapped = np.array([name is not None for name in found])
        if not mapped.any():
            raise ConfigError(f'{given.file}: it leaves out every class of the model')
        return cls(tuple(labels), tuple(names), np.array(class_ids, np.int32), mapped)

    def among(self, names: Sequence[str]) -> _Classes:
        """Return them with their numbers among names that several models share."""
        if not names:
            return self
        found = [names.index(matching(name, names) or name) for name in self.names]
        return replace(
            self, names=tuple(names), class_ids=np.array(found, np.int32)[self.class_ids]
        )

    def kept(self, wanted: Sequence[str], parameter: str) -> np.ndarray:
        """Return which classes of the model count; all that are mapped if none is named."""
        if not wanted:
            return self.mapped
        kept = np.zeros(len(self.labels), bool)
        for name in wanted:
            kept |= self._meant(name, parameter)
        return kept

    def put_scores(self, scores: np.ndarray, given: Sequence[str], parameter: str) -> None:
        """Write the scores that ``CLASS=SCORE`` texts name into those of the model's classes."""
        for text in given:
            name, score = read_score(text, parameter)
            scores[self._meant(name, parameter)] = score

    def _meant(self, name: str, parameter: str) -> np.ndarray:
        """Return the classes of the model that a name in the result, or of the model, stands for.

        Raises:
            ConfigError: none, or only such that the map leaves out.
        """
        used = {*self.class_ids[self.mapped].tolist()}
        shared = [n for i, n in enumerate(self.names) if i in used]
        if (found := matching(name, shared)) is not None:
            return self.mapped & (self.class_ids == self.names.index(found))
        if name.isascii() and name.isdecimal() and len(name) < 6 and int(name) in used:
            return self.mapped & (self.class_ids == int(name))
        own = [n for i, n in enumerate(self.labels) if self.mapped[i]]
        if (found := matching(name, own)) is not None:
            return self.mapped & np.array([label == found for label in self.labels])
        near = did_you_mean(name, {*shared, *own})
        raise ConfigError(f'{parameter}: there is no class {shown(name)}{near}')


def _number(name: str, labels: Sequence[str], file: str) -> int:
    """Return which class of the model a name or number is."""
    found = matching(name, labels)
    if found is not None:
        return list(labels).index(found)
    if name.isascii() and name.isdecimal() and len(name) < 6 and int(name) < len(labels):
        return int(name)
    raise ConfigError(f'{file}: the model has no class {shown(name)}{did_you_mean(name, labels)}')
