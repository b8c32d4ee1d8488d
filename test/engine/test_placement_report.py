"""Where layers run, from lines that TensorRT wrote on other people's machines.

Shapes and order of the lines are those of the public logs named beside each; layer names are
shortened.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yolox_trt_ros.engine.placement_report import LayerPlacement, logs_placement, parse_build_log

# A classifier with group normalisation on Orin (README of NVIDIA-AI-IOT/jetson_dla_tutorial).
SPLIT = """
[03/31/2022-14:34:54] [I] [TRT] ---------- Layers Running on DLA ----------
[03/31/2022-14:34:54] [I] [TRT] [DlaLayer] {ForeignNode[Conv_0]}
[03/31/2022-14:34:54] [I] [TRT] [DlaLayer] {ForeignNode[Relu_10...Conv_11]}
[03/31/2022-14:34:54] [I] [TRT] ---------- Layers Running on GPU ----------
[03/31/2022-14:34:54] [I] [TRT] [GpuLayer] SHUFFLE: Reshape_2 + (Unnamed Layer* 7) [Shuffle]
[03/31/2022-14:34:54] [I] [TRT] [GpuLayer] PLUGIN_V2: InstanceNormalization_5
"""
# A YOLOX whose layers keep the names of torch2trt: nothing on a DLA.
GPU_ONLY = """
[12/30/2022-14:03:16] [TRT] [I] ---------- Layers Running on DLA ----------
[12/30/2022-14:03:16] [TRT] [I] ---------- Layers Running on GPU ----------
[12/30/2022-14:03:16] [TRT] [I] [GpuLayer] COPY: Reformatting CopyNode for Network Input input_0
[12/30/2022-14:03:16] [TRT] [I] [GpuLayer] SLICE: backbone.backbone.stem:0:SLICE:GPU
[12/30/2022-14:03:16] [TRT] [I] [GpuLayer] COPY: (Unnamed Layer* 149) [Slice]_output copy
[12/30/2022-14:03:16] [TRT] [I] [GpuLayer] CONVOLUTION: stem.conv.conv:0:CONVOLUTION:GPU + act
"""
# A YOLOv5 with fallback (NVIDIA-AI-IOT/jetson_dla_tutorial issue 3).
FALLBACK = """
[W] [TRT] Layer '/model.24/Constant_1_output_0' (CONSTANT): Unsupported on DLA. Switching this layer's device type to GPU.
[W] [TRT] Layer '(Unnamed Layer* 277) [Shuffle]' (SHUFFLE): Unsupported on DLA. Switching this layer's device type to GPU.
"""  # noqa: E501
# A network with many fallbacks (marcoslucianops/DeepStream-Yolo issue 27).
TOO_MANY = """
WARNING: [TRT]: DLA supports only 8 subgraphs per DLA core. Switching to GPU for layer conv_6
WARNING: [TRT]: DLA supports only 8 subgraphs per DLA core. Switching to GPU for layer conv_8
"""
# sampleNMT, a translation model (NVIDIA/TensorRT issue 2318).
DEFAULT = """
 [W] [TRT] Default DLA is enabled but layer Embedding matrix is not supported on DLA, falling back to GPU.
"""  # noqa: E501
# sampleCudla of NVIDIA/TensorRT (its README): a comma at the end, and all on the DLA.
SAMPLE = """
[I] [TRT] --------------- Layers running on DLA:
[I] [TRT] [DlaLayer] {ForeignNode[(Unnamed Layer* 0) [ElementWise]]},
[I] [TRT] --------------- Layers running on GPU:
"""
# A YOLO11 of Ultralytics, exported on a machine with a DLA: no kinds.
UNTYPED = """
[09/23/2025-01:35:17] [TRT] [I] [GpuLayer] Conv_0
[09/23/2025-01:35:17] [TRT] [I] [GpuLayer] PWN(PWN(Sigmoid_1), Mul_2)
"""
LOGS = {
    'split': (
        SPLIT,
        LayerPlacement(
            ('{ForeignNode[Conv_0]}', '{ForeignNode[Relu_10...Conv_11]}'),
            ('Reshape_2 + (Unnamed Layer* 7) [Shuffle]', 'InstanceNormalization_5'),
        ),
    ),
    'GPU only': (
        GPU_ONLY,
        LayerPlacement(
            gpu=(
                'backbone.backbone.stem:0:SLICE:GPU',
                'stem.conv.conv:0:CONVOLUTION:GPU + act',
            ),
            reformats=(
                'Reformatting CopyNode for Network Input input_0',
                '(Unnamed Layer* 149) [Slice]_output copy',
            ),
        ),
    ),
    'fallback': (
        FALLBACK,
        LayerPlacement(
            fallbacks=(
                ('/model.24/Constant_1_output_0', 'Unsupported on DLA'),
                ('(Unnamed Layer* 277) [Shuffle]', 'Unsupported on DLA'),
            )
        ),
    ),
    'too many loadables': (
        TOO_MANY,
        LayerPlacement(
            fallbacks=(
                ('conv_6', 'DLA supports only 8 subgraphs per DLA core'),
                ('conv_8', 'DLA supports only 8 subgraphs per DLA core'),
            )
        ),
    ),
    'default device': (
        DEFAULT,
        LayerPlacement(fallbacks=(('Embedding matrix', 'supported on DLA'),)),
    ),
    'sample': (SAMPLE, LayerPlacement(('{ForeignNode[(Unnamed Layer* 0) [ElementWise]]}',))),
    'untyped': (UNTYPED, LayerPlacement(gpu=('Conv_0', 'PWN(PWN(Sigmoid_1), Mul_2)'))),
}


@pytest.mark.parametrize(('log', 'expected'), LOGS.values(), ids=LOGS)
def test_log(log: str, expected: LayerPlacement) -> None:
    lines = log.splitlines()
    assert parse_build_log(lines) == expected
    # What the logger keeps is enough.
    assert parse_build_log(filter(logs_placement, lines)) == expected


def test_what_is_off_the_dla() -> None:
    placement = parse_build_log((SPLIT + FALLBACK).splitlines())
    assert placement.known and placement.transfers == 4
    assert placement.off_dla() == [
        '/model.24/Constant_1_output_0',
        '(Unnamed Layer* 277) [Shuffle]',
        'Reshape_2 + (Unnamed Layer* 7) [Shuffle]',
        'InstanceNormalization_5',
    ]
    assert not parse_build_log(SAMPLE.splitlines()).off_dla()
    assert not parse_build_log([]).known


@given(st.lists(st.text(max_size=60)))
def test_any_text_is_read(lines: list[str]) -> None:
    parse_build_log(lines)
