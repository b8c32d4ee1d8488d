"""Say in words what would make a network quicker on the lanes of a Jetson.

The steps are those of TIER IV, 「Edge AIのためのDNN推論処理の最適化」 (talk of 2023-07-13).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from yolox_trt_ros.core.profile import Workload
from yolox_trt_ros.engine.dla_rules import LayerVerdict, forces_gpu
from yolox_trt_ros.engine.flops import GRID, LayerWork, ModelWork
from yolox_trt_ros.engine.published_times import efficiency, estimate_ms

MUCH = 0.05
"""A part of the work that is worth a sentence."""
MANY_1X1 = 0.15
LOW_EFFICIENCY = 0.25


def workload(name: str, work: ModelWork) -> Workload:
    """Return what a network asks of a lane, as estimates take it."""
    share = work.share([layer for layer in work.layers if layer.activation == 'silu'])
    return Workload(name, work.gflops, work.grid_gflops, share)


def rounded_up(layers: Sequence[LayerWork]) -> tuple[list[LayerWork], float, int]:
    """Return the layers off the grid, and what all of them on it would add.

    Returns:
        Layers; GFLOPs more; parameters more, both with inputs and outputs rounded up.
    """
    off = [layer for layer in layers if layer.off_grid]
    flops = sum(layer.grid_flops - layer.flops for layer in off)
    growth = sum(layer.parameters * (layer.grid_flops / layer.flops - 1) for layer in off)
    return off, flops / 1e9, round(growth)


def advise(work: ModelWork, load: Workload, verdicts: Sequence[LayerVerdict]) -> list[str]:
    """Return what to do, one sentence or two each; empty: nothing that is known would help.

    Args:
        work: of the network's layers.
        load: of the same network.
        verdicts: where each layer runs.
    """
    found = [
        _channels(work),
        _silu(load),
        _forced(verdicts),
        _pointwise(work),
        _depthwise(work),
        _size(load),
    ]
    return [sentence for sentence in found if sentence]


def _channels(work: ModelWork) -> str:
    off, gflops, parameters = rounded_up(work.layers)
    if not off:
        return ''
    return (
        f'channels: {len(off)} of {len(work.layers)} layers have channels that are no multiple of '
        f'{GRID}; INT8 kernels compute the missing ones all the same. Rounding up adds '
        f'{gflops:.2f} GFLOPs and {parameters / 1e6:.2f} M parameters, about '
        f'{gflops / work.gflops:.0%} more network, and by this estimate no time: as the talk went '
        'from YOLOX-Tiny (24 channels) to S. The model has to be trained again.'
    )


def _silu(load: Workload) -> str:
    if load.silu_share < MUCH:
        return ''
    without = replace(load, silu_share=0.0)
    times = ', '.join(
        f'{name} {estimate_ms(lane, load):.1f} to {estimate_ms(lane, without):.1f} ms'
        for name, lane in (('Orin’s GPU', 'orin_gpu'), ('DLA', 'orin_dla'))
    )
    return (
        f'SiLU follows {load.silu_share:.0%} of the work. ReLU or ReLU6 in its place: {times} '
        '(INT8), and ReLU6 needs no calibration. `optimize --relu6` replaces it; the model has to '
        'be trained again.'
    )


def _forced(verdicts: Sequence[LayerVerdict]) -> str:
    forcing = forces_gpu(verdicts)
    if not forcing:
        return ''
    known = []
    if any(v.op == 'Slice' and v.reason.startswith('stride') for v in forcing):
        known.append('the stem, a Focus (`optimize` makes one convolution of it)')
    if any(v.op == 'MaxPool' for v in forcing):
        known.append('an SPP with wide windows (`optimize` makes chains of 5x5)')
    what = f', among them {" and ".join(known)}' if known else ''
    return (
        f'DLA: {len(forcing)} layers force the GPU{what}. `optimize MODEL --output OUT.onnx '
        '--check-dla` rewrites without retraining what it can, and names the rest.'
    )


def _pointwise(work: ModelWork) -> str:
    pointwise = [layer for layer in work.layers if layer.kernel == (1, 1)]
    share = work.share(pointwise)
    if share < MANY_1X1:
        return ''
    return (
        f'1x1 convolutions: {len(pointwise)} of {len(work.layers)} layers, {share:.0%} of the '
        'work. They move much memory for little work; fewer layers of 3x3 (ELAN in place of CSP) '
        'use a lane better: the talk’s S at 33.4 % became S-Opt at 39.7 % of Xavier’s GPU.'
    )


def _depthwise(work: ModelWork) -> str:
    depthwise = [layer for layer in work.layers if layer.groups > 1]
    if not depthwise:
        return ''
    return (
        f'depthwise: {len(depthwise)} layers with groups. Matrix units do not help them and no '
        'published time has any: the times above are too short. Plain 3x3 with fewer channels is '
        'mostly quicker on these lanes.'
    )


def _size(load: Workload) -> str:
    times = {}
    for factor in (0.5, 1.0, 2.0):
        other = replace(load, gflops=load.gflops * factor, grid_gflops=load.grid_gflops * factor)
        times[factor] = estimate_ms('orin_gpu', other)
    used = efficiency('orin_gpu', load, times[1.0])
    sentence = (
        f'depth and resolution: half the GFLOPs (sides x 0.71, or half the depth) take '
        f'{times[0.5]:.1f} ms of Orin’s GPU in place of {times[1.0]:.1f}, twice as many '
        f'{times[2.0]:.1f} ms (INT8).'
    )
    if used < LOW_EFFICIENCY:
        sentence += (
            f' At {used:.0%} of the peak there is room: more depth or resolution costs less than '
            'in proportion, as the talk’s S+-Opt at 45 % of Xavier shows.'
        )
    return sentence
