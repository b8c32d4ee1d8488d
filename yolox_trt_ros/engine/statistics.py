"""Ranges of a model's tensors from pictures, by ONNX Runtime's quantisation statistics.

Two passes over the pictures: the first finds every tensor's largest magnitude, the second fills
histograms of that width. So no histogram ever grows, and one picture's tensors is all that is held.
"""

from __future__ import annotations

import contextlib
import io
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from yolox_trt_ros.core.errors import ConfigError, MissingDependencyError, ModelError
from yolox_trt_ros.engine.entropy import best_prefix
from yolox_trt_ros.engine.graph import SAME_RANGE, Graph
from yolox_trt_ros.engine.mse import least_error
from yolox_trt_ros.engine.onnx_run import OnnxRun

if TYPE_CHECKING:
    from onnx import ModelProto

BINS = 4096
"""Of a histogram from minus to plus the largest magnitude."""
SLACK = 1.001
"""Histograms are wider than the largest value by this: two runs may differ in the last bits."""
TENSORRT = 'tensorrt-'
UNUSED = 1.0
"""Range of a tensor that is zero on every picture."""

Progress = Callable[[Iterable[Any], str], Iterable[Any]]
"""Passes items on and shows how far it is, under a title."""


@dataclass(frozen=True, slots=True)
class Method:
    """How a range follows from values.

    Attributes:
        kind: ``minmax``, ``entropy``, ``mse``, ``percentile`` or ``fixed``.
        number: per cent of all magnitudes that the range holds, or the fixed range.
        tensorrt: whether TensorRT's own calibrator finds it, on a GPU.
    """

    kind: str
    number: float = 0.0
    tensorrt: bool = False

    @classmethod
    def parse(cls, text: str) -> Method:
        """Return the method that ``minmax``, ``mse``, ``percentile:P`` or ``fixed:R`` … names.

        ``tensorrt-`` before minmax, entropy or percentile names TensorRT's calibrator.

        Raises:
            ConfigError: another name, or a number out of range.
        """
        kind, _, number = text.partition(':')
        tensorrt = kind.startswith(TENSORRT)
        kind = kind.removeprefix(TENSORRT)
        expected = {'minmax': False, 'entropy': False, 'mse': False} | {
            'percentile': True,
            'fixed': True,
        }
        try:
            value = float(number) if number else 0.0
        except ValueError:
            value = math.nan
        top = 100.0 if kind == 'percentile' else 1e6
        fits = (
            kind in expected
            and not (tensorrt and kind in ('fixed', 'mse'))
            and expected[kind] == bool(number)
        )
        if not fits or (number and not 0 < value <= top):
            raise ConfigError(
                f'method "{text}": expected minmax, entropy, mse, percentile:P with P up to 100, '
                'such as percentile:99.99, or fixed:R such as fixed:6; tensorrt-minmax, '
                'tensorrt-entropy, tensorrt-percentile:P for the calibrators of TensorRT'
            )
        return cls(kind, value, tensorrt)

    def __str__(self) -> str:
        number = f':{self.number:g}' if self.number else ''
        return f'{TENSORRT if self.tensorrt else ""}{self.kind}{number}'


class Statistics:
    """What pictures say about a model's tensors; gives the ranges of any method.

    Args:
        model: any ONNX with one input; its weights constant.
        pictures: returns float32 inputs (3, height, width), the same ones at each call.
        histograms: fill them too: needed by all methods but ``minmax``.
        progress: shows how far it is.

    Attributes:
        pictures: how many there were.
        means: of each channel of the tensors with four axes, float64 (channels,).

    Raises:
        ModelError: ONNX Runtime cannot run the model, or its numbers are not finite.
    """

    def __init__(
        self,
        model: ModelProto,
        pictures: Callable[[], Iterable[np.ndarray]],
        histograms: bool,
        progress: Progress,
    ) -> None:
        self._graph = Graph(model)
        self._measured = _measured(self._graph)
        run = OnnxRun(model, self._measured, literal=True)
        if any(not isinstance(n, int) for n in run.shape[1:]):
            raise ModelError(f'input of open size {run.shape}: fix it first, with optimize')
        self._batch = run.shape[0] if isinstance(run.shape[0], int) else 1
        self.pictures = 0
        self.means: dict[str, np.ndarray] = {}
        self._largest = dict.fromkeys(self._measured, 0.0)
        for picture in progress(pictures(), 'largest values'):
            self.pictures += 1
            for name, value in self._tensors(run, picture):
                self._largest[name] = max(self._largest[name], _finite(value, name))
                if value.ndim == 4:
                    mean = value[:1].mean(axis=(0, 2, 3), dtype=np.float64)
                    share = 1 / self.pictures
                    self.means[name] = mean * share + self.means.get(name, 0.0) * (1 - share)
        self._collector = _collector('entropy', BINS)
        if not histograms:
            return
        for name, largest in self._largest.items():
            top, zero = np.float32(SLACK * (largest or UNUSED)), np.float32(0)
            edges = np.linspace(-top, top, BINS + 1, dtype=np.float32)
            self._collector.histogram_dict[name] = (np.zeros(BINS, int), edges, zero, zero, top)
        for picture in progress(pictures(), 'histograms'):
            with contextlib.redirect_stdout(io.StringIO()):
                self._collector.collect(dict(self._tensors(run, picture)))

    def _tensors(self, run: OnnxRun, picture: np.ndarray) -> list[tuple[str, np.ndarray]]:
        found = {self._graph.image: picture[None]}
        found |= run(np.repeat(picture[None], self._batch, axis=0))
        return [(name, found[name]) for name in self._measured]

    def ranges(self, method: Method, progress: Progress) -> dict[str, float]:
        """Return the range of each tensor by itself, by a method that learns.

        It is for :func:`shared_ranges`; a tensor that is clipped at once has none.
        """
        if method.kind == 'minmax':
            found = dict(self._largest)
        else:
            of = {'entropy': self._entropy, 'mse': self._mse}.get(method.kind, self._percentile)
            names = progress(self._measured, str(method))
            found = {name: of(name, method.number) for name in names}
        return {name: value or UNUSED for name, value in found.items()}

    def _magnitudes(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Return a histogram of a tensor's magnitudes: (bins,) counts and (bins + 1,) edges."""
        counts, edges, *_ = self._collector.histogram_dict[name]
        return counts[BINS // 2 :] + counts[: BINS // 2][::-1], edges[BINS // 2 :]

    def _entropy(self, name: str, _: float) -> float:
        counts, edges = self._magnitudes(name)
        return float(edges[best_prefix(counts)])

    def _mse(self, name: str, _: float) -> float:
        return least_error(*self._magnitudes(name))

    def _percentile(self, name: str, percent: float) -> float:
        counts, edges = self._magnitudes(name)
        collector = _collector('percentile', len(counts), percent)
        collector.histogram_dict['x'] = counts, edges, *self._collector.histogram_dict[name][2:4]
        with contextlib.redirect_stdout(io.StringIO()):
            low, high = collector.compute_collection_result()['x'][:2]
        # A threshold of 0 would make nothing of the few values that there are.
        return max(abs(float(low)), abs(float(high)), float(edges[1]))


def shared_ranges(model: ModelProto, found: Mapping[str, float]) -> dict[str, float]:
    """Return a range for every tensor of a model, from those that were found one by one.

    Tensors whose values only move (concat, pool, resize) share one range, as DLA asks for; a
    convolution whose result is clipped at once has the range of the clip.

    Raises:
        ModelError: none was found for a tensor nor for any that shares its range.
    """
    graph = Graph(model)
    try:
        return _spread(graph, {n: found[n] for n in _measured(graph) if n in found})
    except KeyError as error:
        raise ModelError(f'tensor {error}: no range was found for it') from error


def fixed_ranges(model: ModelProto, largest: float, image: float) -> dict[str, float]:
    """Return ranges that need no pictures: those of a network whose every layer is clipped.

    Args:
        model: each tensor that a convolution reads must be clipped to ``largest``, as ReLU6 does
            with 6, be the image, or be moved or added up from such tensors.
        largest: the range of the clipped tensors, and of the head's maps.
        image: largest magnitude of the input.

    Raises:
        ModelError: a convolution reads a tensor without such a bound.
    """
    graph = Graph(model)
    bound = {graph.image: image}
    for node in graph.nodes:
        clip = graph.bounds(node)
        inputs = [bound.get(n, math.inf) for n in node.input if n in bound or n in graph.producer]
        value = math.inf
        if clip and max(map(abs, clip)) <= largest:
            value = largest
        elif node.op_type in SAME_RANGE:
            value = max(inputs)
        elif node.op_type in ('Add', 'Sum'):
            value = sum(inputs)
        bound.update(dict.fromkeys(node.output, value))
    for node in graph.convolutions():
        if math.isinf(bound[node.input[0]]):
            raise ModelError(
                f'fixed:{largest:g}: convolution {node.name or node.output[0]} reads '
                f'"{node.input[0]}", which no clip bounds by {largest:g}: a fixed range is for '
                'networks with ReLU6; calibrate this one, with minmax or percentile'
            )
    found = {name: largest if math.isinf(bound[name]) else bound[name] for name in graph.tensors}
    return _spread(graph, {n: found[n] for n in _measured(graph)})


def _measured(graph: Graph) -> list[str]:
    """Return the tensors whose ranges do not follow from others'."""
    return [name for name in graph.tensors if _clipped(graph, name) is None]


def _clipped(graph: Graph, name: str) -> str | None:
    """Return the clipped tensor, if clipping is all that happens to this one."""
    consumers = graph.consumers.get(name, [])
    alone = len(consumers) == 1 and name not in graph.outputs and name != graph.image
    return consumers[0].output[0] if alone and graph.bounds(consumers[0]) else None


def _spread(graph: Graph, found: Mapping[str, float]) -> dict[str, float]:
    """Return a range for every tensor, the same where one is needed."""
    root = {name: name for name in graph.tensors}

    def top(name: str) -> str:
        while root[name] != name:
            name = root[name]
        return name

    for node in graph.nodes:
        if node.op_type in SAME_RANGE:
            same = [top(n) for n in [*node.input, *node.output] if n in root]
            root.update(dict.fromkeys(same, same[0]))
    shared: dict[str, float] = {}
    for name, value in found.items():
        shared[top(name)] = max(shared.get(top(name), 0.0), value)
    return {name: shared[top(_clipped(graph, name) or name)] for name in graph.tensors}


def _collector(kind: str, bins: int, percent: float = 99.0) -> Any:
    try:
        from onnxruntime.quantization.calibrate import HistogramCollector
    except ImportError as error:
        raise MissingDependencyError(
            'calibration needs ONNX Runtime: pip install onnxruntime'
        ) from error
    return HistogramCollector(
        method=kind,
        symmetric=True,
        num_bins=bins,
        num_quantized_bins=128,  # of its own entropy search, which is not used
        percentile=percent,
        scenario='same',
    )


def _finite(value: np.ndarray, name: str) -> float:
    largest = float(np.abs(value).max(initial=0.0))
    if not math.isfinite(largest):
        raise ModelError(f'tensor "{name}": numbers that are not finite')
    return largest
