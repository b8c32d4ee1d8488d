"""Fixtures of the engine tests; see :mod:`tensorrt_wheels`."""

from __future__ import annotations

from pathlib import Path

import pytest

from yolox_trt_ros.packaged_models import find_model


@pytest.fixture(scope='session')
def edge_n_cut() -> Path:
    return find_model('edge_n_cut')


@pytest.fixture(scope='session')
def quantised(edge_n_cut: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return edge_n_cut with Q/DQ nodes, as ONNX Runtime quantises it from noise."""
    import numpy as np
    from onnxruntime import quantization

    class Noise(quantization.CalibrationDataReader):
        def __init__(self) -> None:
            images = np.random.default_rng(0).uniform(0, 255, (2, 1, 3, 320, 480))
            self._images = iter(images.astype(np.float32))

        def get_next(self) -> dict[str, np.ndarray] | None:
            image = next(self._images, None)
            return None if image is None else {'images': image}

    path = tmp_path_factory.mktemp('quantised') / 'edge_n_cut.qdq.onnx'
    quantization.quantize_static(
        str(edge_n_cut),
        str(path),
        Noise(),
        quant_format=quantization.QuantFormat.QDQ,
        per_channel=True,
        activation_type=quantization.QuantType.QInt8,
        weight_type=quantization.QuantType.QInt8,
        op_types_to_quantize=['Conv'],
        extra_options={
            'ActivationSymmetric': True,
            'WeightSymmetric': True,
            'QuantizeBias': False,
            'AddQDQPairToWeight': True,
        },
    )
    return path
