"""Calibrate a model on the pictures of the command line, by one method or several."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from yolox_trt_ros.cli import one_lane
from yolox_trt_ros.cli.pictures import chosen_pictures
from yolox_trt_ros.core.errors import ConfigError
from yolox_trt_ros.core.output_files import write_whole
from yolox_trt_ros.engine.model_facts import model_facts
from yolox_trt_ros.engine.scales import difference_of, scale_table
from yolox_trt_ros.engine.statistics import Method, Statistics, fixed_ranges, shared_ranges
from yolox_trt_ros.engine.tensorrt_calibration import tensorrt_ranges
from yolox_trt_ros.engine.tensorrt_versions import load_tensorrt

if TYPE_CHECKING:
    from onnx import ModelProto

    from yolox_trt_ros.compose import Model


@dataclass(frozen=True, slots=True, eq=False)
class Calibrated:
    """What calibration found.

    Attributes:
        pictures: how many were looked at.
        ranges: of each tensor, by method.
        means: of each tensor's channels.
        held: inputs that were held out for the choice of layers.
    """

    pictures: int
    ranges: dict[Method, dict[str, float]]
    means: dict[str, np.ndarray]
    held: list[np.ndarray]


def calibrate(
    args: argparse.Namespace,
    fp32: Model,
    model: ModelProto,
    methods: list[Method],
    hold: Callable[[int], set[int]] | None,
) -> Calibrated:
    """Return what calibration finds by each method.

    Args:
        args: with those of :mod:`cli.pictures`, and ``output``.
        fp32: the model.
        model: the same, prepared.
        methods: of the ranges.
        hold: returns which of so many pictures are held out and have no part in it; None: none.
    """
    spec, facts = fp32.spec, model_facts(fp32.path)
    found = {
        m: fixed_ranges(model, m.number, spec.input.largest) for m in methods if m.kind == 'fixed'
    }
    pictures = chosen_pictures(args)
    learning = [m for m in methods if m.kind != 'fixed']
    if not learning and not hold:
        return Calibrated(0, found, {}, [])
    if pictures is None:
        what = f'method {learning[0]}' if learning else '--keep auto'
        raise ConfigError(f'{what} needs pictures: give --images DIR, --bag BAG or --world train')
    apart = hold(pictures.count) if hold else set()

    def inputs() -> Iterator[np.ndarray]:
        return (x for i, x in enumerate(pictures.inputs(spec.input)) if i not in apart)

    held = [x for i, x in enumerate(pictures.inputs(spec.input)) if i in apart] if hold else []
    means: dict[str, np.ndarray] = {}
    progress, count = Tracked(pictures.count), 0
    single: dict[Method, dict[str, float]] = {}
    if ours := [m for m in learning if not m.tensorrt]:
        histograms = any(m.kind != 'minmax' for m in ours)
        statistics = Statistics(model, inputs, histograms, progress)
        single, count = {m: statistics.ranges(m, progress) for m in ours}, statistics.pictures
        means = statistics.means
    for method in [m for m in learning if m.tensorrt]:
        used = list(progress(inputs(), 'pictures'))
        count = len(used)
        with one_lane.engine_progress() as report:
            single[method] = tensorrt_ranges(
                load_tensorrt(), facts, used, method, lambda fraction, _: report(fraction)
            )
    _show_scales(args.output, single)
    found |= {method: shared_ranges(model, ranges) for method, ranges in single.items()}
    return Calibrated(count, {m: found[m] for m in methods}, means, held)


def _show_scales(folder: Path, single: dict[Method, dict[str, float]]) -> None:
    """Write the ranges of every method side by side, and compare ours with TensorRT's."""
    if len(single) < 2:
        return
    named = {str(method): ranges for method, ranges in single.items()}
    write_whole(folder / 'scales.csv', scale_table(named))
    for method, ranges in single.items():
        mine = single.get(replace(method, tensorrt=False))
        if method.tensorrt and mine:
            print(f'{method}: {difference_of(mine, ranges)}')


class Tracked:
    """Shows how far the calibration is."""

    def __init__(self, pictures: int) -> None:
        self._pictures = pictures

    def __call__(self, items: Iterable[Any], title: str) -> Iterable[Any]:
        """Return the items; a bar shows how many have been taken."""
        from rich.progress import track

        from yolox_trt_ros.cli.console import Console

        count = len(items) if isinstance(items, list) else self._pictures
        return track(items, title, count, console=Console(stderr=True), transient=True)
