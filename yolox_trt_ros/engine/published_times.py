"""Estimate a network's time on Xavier and Orin from the times that others have published.

A lane's time for one image is taken as (fixed + per GFLOP x GFLOPs) x (1 + cost of SiLU x its
share), with channels rounded up to the 32 that INT8 kernels take at once. The two constants of a
lane are fitted to its published times by least squares of the relative error.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from yolox_trt_ros.core.profile import Workload

DECK = 'TIER IV, 「Edge AIのためのDNN推論処理の最適化」 (talk of 2023-07-13)'
CUDLA = 'NVIDIA-AI-IOT/cuDLA-samples (Orin-X, TensorRT 8.6)'


@dataclass(frozen=True, slots=True)
class PublishedLane:
    """A lane of which others have published INT8 times.

    Attributes:
        name: for people.
        tops: peak with INT8, dense, as the talk has it.
        silu: additional time where SiLU follows all layers, as a part of the time without.
        half: factor on the time with FP16.
    """

    name: str
    tops: float
    silu: float
    half: float


# SiLU on a GPU: "30 to 40 % of the efficiency", so 1 / (1 - 0.35) of the time. On a DLA: without
# it YOLOX-S took 20 ms less, and in the end 38.07 GFLOPs / (48.2 % of 5 TOPS) = 15.8 ms.
# FP16 on a GPU: YOLOX-Tiny's 11 ms to 6.74 ms. On a DLA: INT8 took 5 ms off YOLOX-S.
_GPU_SILU, _DLA_SILU = 1 / (1 - 0.35) - 1, 20 / 15.8
_GPU_HALF, _DLA_HALF = 11 / 6.74, (15.8 + 5) / 15.8

LANES = {
    'xavier_gpu': PublishedLane('Xavier GPU', 22.0, _GPU_SILU, _GPU_HALF),
    'xavier_dla': PublishedLane('Xavier DLA', 5.0, _DLA_SILU, _DLA_HALF),
    'orin_gpu': PublishedLane('Orin GPU', 85.0, _GPU_SILU, _GPU_HALF),
    'orin_dla': PublishedLane('Orin DLA', 26.25, _DLA_SILU, _DLA_HALF),
}


@dataclass(frozen=True, slots=True)
class PublishedTime:
    """The published INT8 time of one call.

    Attributes:
        lane: key of ``LANES``.
        work: of one image.
        ms: time of the call, milliseconds.
        source: who published it.
        images: in the call.
        fitted: whether the lane's constants are fitted to it; False: a test of them.
        doubtful: contradicts another figure of its source; shown, and no measure of the estimate.
        remark: what there is to know.
    """

    lane: str
    work: Workload
    ms: float
    source: str
    images: int = 1
    fitted: bool = True
    doubtful: bool = False
    remark: str = ''


# GFLOPs are those of the sources. What rounding channels up adds to YOLOX's own networks was
# counted on their graphs; the optimised ones, whose channels are not given, count as on the grid.
_TINY = Workload('YOLOX-Tiny 960x608', 21.66, 21.66 * 1.234, 1.0)
_S = Workload('YOLOX-S 960x608, ReLU, plain stem, no SPP', 38.07, 38.07 * 1.016, 0.0)
_M = Workload('YOLOX-M 960x608', 104.84, 104.84 * 1.078, 1.0)
_S_OPT = Workload('YOLOX-S-Opt 960x608', 46.8, 46.8, 0.0)
_S_PLUS = Workload('YOLOX-S+-Opt 960x960', 102.9, 102.9, 0.0)
_S_PLUS_WIDE = Workload('YOLOX-S+-Opt 1280x960', 136.7, 136.7, 0.0)
# 16.5 GFLOPs at 640x640 (Ultralytics), in proportion to the area; a 6x6 stem on 3 channels, else
# the widths of YOLOX-S.
_V5S = Workload('YOLOv5s 672x672', 18.19, 18.45, 1.0)
_BY_SHARE = 'from the published efficiency'

TIMES = [
    PublishedTime('xavier_gpu', _TINY, 6.74, DECK),
    PublishedTime('xavier_gpu', _S, 38.07 / (0.334 * 22), DECK, remark=_BY_SHARE),
    PublishedTime('xavier_gpu', _M, 15.26, DECK),
    PublishedTime('xavier_gpu', _S_OPT, 5.36, DECK),
    PublishedTime('xavier_gpu', _S_PLUS, 10.05, DECK),
    PublishedTime('xavier_gpu', _S_PLUS_WIDE, 13.91, DECK),
    PublishedTime('xavier_dla', _S, 38.07 / (0.482 * 5), DECK, remark=_BY_SHARE),
    PublishedTime('xavier_dla', _S_OPT, 46.8 / (0.575 * 5), DECK, remark=_BY_SHARE),
    PublishedTime(
        'xavier_dla', _S_OPT, 10.19, DECK, fitted=False, doubtful=True,
        remark='contradicts the efficiency that is published with it, 57.5 %',
    ),
    PublishedTime('xavier_dla', _S_PLUS, 31.17, DECK),
    PublishedTime('xavier_dla', _S_PLUS_WIDE, 40.65, DECK),
    PublishedTime('orin_gpu', _S_PLUS, 4.1, DECK),
    PublishedTime('orin_gpu', _V5S, 1.82, CUDLA),
    PublishedTime('orin_gpu', _V5S, 2.91, CUDLA, 2),
    PublishedTime('orin_gpu', _V5S, 4.99, CUDLA, 4),
    PublishedTime('orin_gpu', _V5S, 9.19, CUDLA, 8),
    PublishedTime('orin_gpu', _V5S, 16.87, CUDLA, 16),
    PublishedTime('orin_dla', _S_PLUS, 11.69, DECK),
    PublishedTime('orin_dla', _V5S, 3.82, CUDLA),
    PublishedTime('orin_dla', _V5S, 30.92, CUDLA, 8, False),
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Miss:
    """How far the estimate is off a published time.

    Attributes:
        time: what was published.
        estimate_ms: the estimate.
        left_out_ms: the estimate of constants that were fitted without any time of this network.
    """

    time: PublishedTime
    estimate_ms: float
    left_out_ms: float

    @property
    def error(self) -> float:
        """Estimate against published time, as a part of that: -0.1 is too quick by a tenth."""
        return self.estimate_ms / self.time.ms - 1

    @property
    def left_out_error(self) -> float:
        """The same of the estimate that did not know this network."""
        return self.left_out_ms / self.time.ms - 1


def estimate_ms(lane: str, work: Workload, images: int = 1, *, half: bool = False) -> float:
    """Return the estimated time of one call, milliseconds.

    Args:
        lane: key of ``LANES``.
        work: of one image.
        images: in the call.
        half: FP16 in place of INT8.
    """
    ms = float(_terms(lane, work, images) @ _constants(_fitted(lane)))
    return ms * (LANES[lane].half if half else 1.0)


def efficiency(lane: str, work: Workload, ms: float, images: int = 1) -> float:
    """Return (GFLOPs / time) / peak INT8 TOPS, as the talk counts it."""
    return work.gflops * images / ms / LANES[lane].tops


def misses(lane: str) -> list[Miss]:
    """Return how far the estimate is off each published time of a lane."""
    found = []
    for time in (t for t in TIMES if t.lane == lane):
        others = [t for t in _fitted(lane) if t.work is not time.work]
        left_out_ms = float(_terms(lane, time.work, time.images) @ _constants(others))
        found.append(Miss(time, estimate_ms(lane, time.work, time.images), left_out_ms))
    return found


@dataclass(frozen=True, slots=True)
class ErrorRange:
    """Smallest and largest errors on a lane's published times, as parts of them.

    Attributes:
        fit: of the estimate.
        left_out: of estimates that did not know the network, which is what to expect of another.
        gflops: smallest and largest published network; others are extrapolated.
    """

    fit: tuple[float, float]
    left_out: tuple[float, float]
    gflops: tuple[float, float]


def error_range(lane: str) -> ErrorRange:
    """Return how far the estimate is off a lane's published times, doubtful ones left aside."""
    found = [miss for miss in misses(lane) if not miss.time.doubtful]
    fit, left_out = [m.error for m in found], [m.left_out_error for m in found]
    sizes = [m.time.work.gflops for m in found]
    return ErrorRange(
        (min(fit), max(fit)), (min(left_out), max(left_out)), (min(sizes), max(sizes))
    )


def _fitted(lane: str) -> list[PublishedTime]:
    return [time for time in TIMES if time.lane == lane and time.fitted]


def _terms(lane: str, work: Workload, images: int) -> np.ndarray:
    """Return what the constants, milliseconds a call and a GFLOP, are multiplied by."""
    slower = 1 + LANES[lane].silu * work.silu_share
    return np.array([slower, slower * work.grid_gflops * images])


def _constants(times: Sequence[PublishedTime]) -> np.ndarray:
    """Return milliseconds a call and a GFLOP.

    One network alone cannot say both, and no constant is negative: then the time is in proportion.
    """
    rows = np.array([_terms(t.lane, t.work, t.images) / t.ms for t in times])
    if len({t.work.model for t in times}) > 1:
        found: np.ndarray = np.linalg.lstsq(rows, np.ones(len(rows)), rcond=None)[0]
        if found.min() >= 0:
            return found
    slope = rows[:, 1].sum() / (rows[:, 1] ** 2).sum()
    return np.array([0.0, slope])
