"""Compare a replay with its golden, or write the golden."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from yolox_trt_ros.core.detections import Detections
from yolox_trt_ros.core.errors import ConfigError, YoloxTrtRosError, did_you_mean
from yolox_trt_ros.core.output_files import write_whole
from yolox_trt_ros.testing.golden_file import Golden, Tolerances, golden_text, read_golden
from yolox_trt_ros.testing.results import ImageKey, Replayed, Result

MOST_SHOWN = 12


class GoldenMismatchError(AssertionError):
    """A replay found something else than the golden says."""


@dataclass(frozen=True, slots=True)
class FrameDifference:
    """What differs in one image.

    Attributes:
        camera: its camera.
        stamp_ns: its header stamp.
        repeat: which of the camera's images with this stamp it is, from 0.
        golden, found: all its detections; None where there is no result.
        missing: rows of ``golden`` that nothing matches.
        extra: rows of ``found`` that match nothing.
    """

    camera: str
    stamp_ns: int
    repeat: int
    golden: Detections | None
    found: Detections | None
    missing: tuple[int, ...] = ()
    extra: tuple[int, ...] = ()

    @property
    def where(self) -> str:
        """Return which image this is, for people."""
        again = f', image {self.repeat + 1} of this stamp' if self.repeat else ''
        return f'{self.camera} at {self.stamp_ns / 1e9:.3f}{again}'


@dataclass(frozen=True, slots=True)
class Comparison:
    """A replay beside its golden.

    Attributes:
        frames: images that differ, those without a partner first.
        labels: class names of both.
        tolerances: that were applied.
        cameras: cameras that only one of the two has, as sentences.
    """

    frames: tuple[FrameDifference, ...]
    labels: tuple[str, ...]
    tolerances: Tolerances
    cameras: tuple[str, ...] = field(default=())

    @property
    def misses(self) -> int:
        """Return how many boxes are missing or extra."""
        return sum(len(f.missing) + len(f.extra) for f in self.frames)

    @property
    def matches(self) -> bool:
        """Return whether the replay is what the golden says."""
        whole = all(f.golden is not None and f.found is not None for f in self.frames)
        return whole and not self.cameras and self.misses <= self.tolerances.allowed_misses

    def by_camera(self) -> dict[str, Comparison]:
        """Return the images of each camera that differ, as comparisons of their own."""
        cameras = sorted({f.camera for f in self.frames})
        return {
            camera: replace(self, frames=tuple(f for f in self.frames if f.camera == camera))
            for camera in cameras
        }

    def totals(self) -> list[str]:
        """Return how many boxes are missing and extra, by camera and by class."""
        missing, extra = Counter[tuple[str, str]](), Counter[tuple[str, str]]()
        for f in self.frames:
            for counter, found, rows in ((missing, f.golden, f.missing), (extra, f.found, f.extra)):
                if found is not None:
                    counter.update((f.camera, self.labels[found.class_id[i]]) for i in rows)
        return [
            f'{camera}, {label}: {missing[camera, label]} missing, {extra[camera, label]} extra'
            for camera, label in sorted(missing.keys() | extra.keys())
        ]

    def sentences(self) -> list[str]:
        """Return what differs, one sentence each."""
        messages = list(self.cameras)
        for f in self.frames:
            where = f.where
            if f.found is None:
                messages.append(f'{where}: no result')
            elif f.golden is None:
                messages.append(f'{where}: a result of an image that the golden does not know')
            else:
                messages += [f'{where}: missing {self._row(f.golden, i)}' for i in f.missing]
                messages += [f'{where}: extra {self._row(f.found, i)}' for i in f.extra]
        return messages

    def _row(self, found: Detections, i: int) -> str:
        box = ' '.join(f'{v:.0f}' for v in found.xyxy[i])
        return f'{self.labels[found.class_id[i]]} {found.score[i]:.3f} [{box}]'


def check(
    replayed: Replayed,
    golden: Path,
    *,
    update: bool = False,
    pictures: Path | None = None,
    **tolerances: Any,
) -> None:
    """Compare a replay with its golden, or make it the golden.

    Args:
        replayed: what was found.
        golden: JSON file.
        update: write the file instead of comparing.
        pictures: folder for a picture of what changed; None: no picture.
        tolerances: fields of :class:`Tolerances`; those of the file are the default.

    Raises:
        GoldenMismatchError: something else was found, or there is no golden yet.
        ConfigError: the file is not a golden, or a tolerance is none.
    """
    __tracebackhide__ = True
    wrong = set(tolerances) - set(Tolerances.__dataclass_fields__)
    if wrong:
        name = sorted(wrong)[0]
        raise ConfigError(
            f'no tolerance {name}{did_you_mean(name, Tolerances.__dataclass_fields__)}'
        )
    if update:
        kept = read_golden(golden).tolerances if golden.is_file() else Tolerances()
        write_whole(golden, golden_text(replayed, replace(kept, **tolerances)))
        return
    if not golden.is_file():
        raise GoldenMismatchError(
            f'there is no golden yet: run with --update-goldens to write {golden}'
        )
    wanted = read_golden(golden, replayed.labels)
    wanted = replace(wanted, tolerances=replace(wanted.tolerances, **tolerances))
    comparison = compare(replayed, wanted)
    if not comparison.matches:
        raise GoldenMismatchError(_message(comparison, golden, replayed, pictures))


def compare(replayed: Replayed, wanted: Golden) -> Comparison:
    """Return how a replay differs from a golden."""
    golden, tolerances = wanted.cameras, wanted.tolerances
    frames: list[FrameDifference] = []
    cameras = [
        f'{name}: the golden does not know this camera' for name in replayed.cameras.keys() - golden
    ]
    cameras += [f'{name}: not in this replay' for name in golden.keys() - replayed.cameras]
    for camera in replayed.cameras.keys() & golden.keys():
        found, right = _by_image(replayed.cameras[camera]), _by_image(golden[camera])
        for image in sorted(found.keys() | right.keys()):
            difference = _of_frame(camera, image, right.get(image), found.get(image), tolerances)
            if difference:
                frames.append(difference)
    frames.sort(key=_weight)
    return Comparison(tuple(frames), wanted.labels, tolerances, tuple(sorted(cameras)))


def _by_image(results: Sequence[Result]) -> dict[ImageKey, Detections]:
    """Return a camera's detections by stamp and number among the images of that stamp."""
    found: dict[ImageKey, Detections] = {}
    for r in results:
        # A golden that was written by hand, or before they were numbered, has them in order.
        repeat = next(n for n in count(r.repeat) if (r.stamp_ns, n) not in found)
        found[r.stamp_ns, repeat] = r.detections
    return found


def _weight(f: FrameDifference) -> tuple[bool, int, str, int, int]:
    """Order images without a partner first, then those with most differences."""
    both = f.golden is not None and f.found is not None
    return both, -(len(f.missing) + len(f.extra)), f.camera, f.stamp_ns, f.repeat


def _of_frame(
    camera: str,
    image: ImageKey,
    golden: Detections | None,
    found: Detections | None,
    tolerances: Tolerances,
) -> FrameDifference | None:
    if golden is None or found is None:
        return FrameDifference(camera, *image, golden, found)
    missing, extra = unmatched(golden, found, tolerances)
    if not missing and not extra:
        return None
    return FrameDifference(camera, *image, golden, found, missing, extra)


def unmatched(
    golden: Detections, found: Detections, tolerances: Tolerances
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return rows of either that have no partner: one to one, the nearest boxes first."""
    overlap = _iou(golden.xyxy, found.xyxy)
    overlap[golden.class_id[:, None] != found.class_id[None, :]] = 0.0
    near = np.abs(golden.score[:, None] - found.score[None, :]) <= tolerances.score
    overlap[~near] = 0.0
    left, right = set(range(len(golden))), set(range(len(found)))
    for flat in np.argsort(-overlap, axis=None, kind='stable'):
        i, j = divmod(int(flat), len(found))
        if overlap[i, j] < tolerances.iou:
            break
        if i in left and j in right:
            left.remove(i)
            right.remove(j)
    return tuple(sorted(left)), tuple(sorted(right))


def _iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    shared = np.prod(np.maximum(high - low, 0.0), axis=2)
    areas = [np.prod(np.maximum(x[:, 2:] - x[:, :2], 0.0), axis=1) for x in (a, b)]
    union = areas[0][:, None] + areas[1][None, :] - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)


def _message(
    comparison: Comparison, golden: Path, replayed: Replayed, pictures: Path | None
) -> str:
    messages = comparison.sentences()
    lines = [
        f'{replayed.bag.name} against {golden}: {comparison.misses} boxes are missing or extra, '
        f'{comparison.tolerances.allowed_misses} allowed '
        f'(iou {comparison.tolerances.iou:g}, score {comparison.tolerances.score:g}):',
        *(f'  {sentence}' for sentence in comparison.totals()),
        *(f'  {sentence}' for sentence in messages[:MOST_SHOWN]),
    ]
    if len(messages) > MOST_SHOWN:
        lines.append(f'  and {len(messages) - MOST_SHOWN} more')
    if pictures:
        from yolox_trt_ros.testing.pictures import draw_comparison

        try:
            drawn = [
                draw_comparison(one, replayed, pictures / f'{golden.stem}.{camera}.png')
                for camera, one in comparison.by_camera().items()
            ]
            seen = [f'see {picture}' for picture in drawn if picture]
            lines += seen or ['no picture: these images are not there']
        except YoloxTrtRosError as error:  # what was found wrong is what has to be reported
            lines.append(f'no picture: {error}')
    lines.append('If this is right now: --update-goldens')
    return '\n'.join(lines)
