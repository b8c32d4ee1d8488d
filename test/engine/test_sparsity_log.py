"""What TensorRT's build log says of 2:4 sparse kernels."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yolox_trt_ros.engine.sparsity_log import SparseKernels, logs_sparsity, parse_sparsity
from yolox_trt_ros.tools.build import sparsity_line

# The developer guide's; github.com/NVIDIA/TensorRT, issues 1403 and 4054; TensorRT 10.
GUIDE = """\
[03/23/2021-00:14:05] [I] [TRT] (Sparsity) Layers eligible for sparse math: conv1, conv2, conv3
[03/23/2021-00:14:05] [I] [TRT] (Sparsity) TRT inference plan picked sparse implementation for \
layers: conv2, conv3"""
NONE_PICKED = """\
(Sparsity) Layers eligible for sparse math: Conv_0
(Sparsity) TRT inference plan picked sparse implementation for layers:"""
FUSED = '(Sparsity) Layers eligible for sparse math: MatMul_401, Conv_619 + Relu_620, Conv_626'
NOBODY = """\
(Sparsity) Layers eligible for sparse math:
(Sparsity) TRT inference plan picked sparse implementation for layers:"""
COUNTED = """\
(Sparsity) Found 39 layer(s) eligible to use sparse tactics
(Sparsity) Chose 0 layer(s) using sparse tactics"""
TWICE = """\
(Sparsity) Found 3 layer(s) eligible to use sparse tactics: a, b, c
(Sparsity) Chose 2 layer(s) using sparse tactics: a, b
(Sparsity) Found 3 layer(s) eligible to use sparse tactics: a, b, c
(Sparsity) Chose 1 layer(s) using sparse tactics: c"""


@pytest.mark.parametrize(
    ('log', 'expected'),
    [
        (GUIDE, SparseKernels(3, 2, ('conv2', 'conv3'))),
        (NONE_PICKED, SparseKernels(1, 0)),
        (FUSED, SparseKernels(3, 0)),
        (NOBODY, SparseKernels(0, 0)),
        (COUNTED, SparseKernels(39, 0)),
        (TWICE, SparseKernels(3, 1, ('c',))),
        ('[GpuLayer] CONVOLUTION: conv1', None),
    ],
)
def test_log(log: str, expected: SparseKernels | None) -> None:
    assert parse_sparsity(log.splitlines()) == expected
    # What the logger keeps is enough.
    assert parse_sparsity(filter(logs_sparsity, log.splitlines())) == expected


def test_in_words() -> None:
    assert '`sparsify` makes them so' in sparsity_line(SparseKernels(0, 0))
    assert sparsity_line(SparseKernels(3, 2, ('a', 'b'))).startswith(
        '3 layers could use sparse kernels, 2 do'
    )
    assert sparsity_line(SparseKernels(39, 0)).endswith('dense ones were quicker everywhere')


@given(st.lists(st.text(max_size=60)))
def test_any_text_is_read(lines: list[str]) -> None:
    parse_sparsity([*lines, *(f'(Sparsity) {line}' for line in lines)])
