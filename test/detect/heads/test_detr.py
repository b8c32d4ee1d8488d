"""DETR and its successors find what Transformers' own post-processing finds, random weights or not.

Needs the packages torch and transformers, which the project does not install.
"""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
import yaml
from dense_graphs import CLASSES, detr
from oracle import assert_same, detected, run
from test_yolov8 import IMAGES
from tiny_models import HEIGHT, WIDTH

from yolox_trt_ros.core.errors import ModelError
from yolox_trt_ros.core.model import Thresholds
from yolox_trt_ros.detect.model import load_model_spec

LABELS = [f'class {i}' for i in range(5)]
QUERIES = 30
SMALL = {
    'd_model': 32, 'num_queries': QUERIES, 'decoder_layers': 2, 'decoder_ffn_dim': 32,
    'decoder_attention_heads': 2, 'encoder_attention_heads': 2, 'encoder_ffn_dim': 32,
    'num_labels': len(LABELS),
}  # fmt: skip
PYRAMID = {
    **SMALL, 'encoder_hidden_dim': 32, 'encoder_in_channels': [16, 32, 32],
    'decoder_in_channels': [32, 32, 32], 'num_denoising': 0,
}  # fmt: skip


def resnet(kind: Any, **more: Any) -> Any:
    sizes = {'embedding_size': 16, 'hidden_sizes': [16, 16, 32, 32], 'depths': [1, 1, 1, 1]}
    return kind(**sizes, layer_type='basic', **more)


def rt_detr(transformers: Any) -> Any:
    backbone = resnet(transformers.RTDetrResNetConfig, out_features=['stage2', 'stage3', 'stage4'])
    config = transformers.RTDetrConfig(backbone_config=backbone, **PYRAMID)
    return transformers.RTDetrForObjectDetection(config)


def d_fine(transformers: Any) -> Any:
    backbone = resnet(transformers.RTDetrResNetConfig, out_features=['stage2', 'stage3', 'stage4'])
    config = transformers.DFineConfig(backbone_config=backbone, **PYRAMID)
    return transformers.DFineForObjectDetection(config)


def plain_detr(transformers: Any) -> Any:
    backbone = resnet(transformers.ResNetConfig, out_features=['stage4'])
    config = transformers.DetrConfig(
        backbone_config=backbone, use_timm_backbone=False, encoder_layers=1, **SMALL
    )
    return transformers.DetrForObjectDetection(config)


MODELS = {'rt_detr': rt_detr, 'd_fine': d_fine, 'detr': plain_detr}


@pytest.fixture(scope='module', params=MODELS)
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return a model's name and its ONNX file."""
    torch, transformers = pytest.importorskip('torch'), pytest.importorskip('transformers')
    torch.manual_seed(0)
    model = MODELS[request.param](transformers).eval()
    with torch.no_grad():  # as trained ones, it is sure of something, here and there
        for name, weight in model.named_parameters():
            if 'class' in name and weight.ndim == 1:
                weight.zero_()
            if ('class' in name or 'bbox' in name) and weight.ndim == 2:
                weight.normal_(0, 0.2)

    class Plain(torch.nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, images: Any) -> Any:
            found = self.model(images)
            return found.logits, found.pred_boxes

    path = tmp_path_factory.mktemp(request.param) / 'm.onnx'
    torch.onnx.export(
        Plain().eval(), (torch.zeros(1, 3, HEIGHT, WIDTH),), str(path), input_names=['images'],
        output_names=['logits', 'pred_boxes'], opset_version=18, dynamo=request.param != 'd_fine',
    )  # fmt: skip
    (path.parent / 'labels.txt').write_text('\n'.join(LABELS))
    return request.param, path


def test_what_transformers_finds(exported: Any) -> None:
    import torch
    import transformers

    name, path = exported
    path.with_suffix('.yaml').write_text(yaml.safe_dump({'head': name}))
    spec = load_model_spec(path)
    assert (spec.head.family, spec.input.letterbox, spec.head.suppressed) == (name, 'stretch', True)
    processor = transformers.DetrImageProcessorPil if name == 'detr' else (
        transformers.RTDetrImageProcessorPil
    )  # fmt: skip
    limits = Thresholds(0.4, max_detections=QUERIES)  # as many as Transformers keeps
    for image, found in zip(IMAGES, detected(path, IMAGES, limits), strict=True):
        # Bit for bit what the detector feeds: which queries are best is chance without training.
        multiply, add = (f.astype(np.float32) for f in spec.input.normalisation())
        small = cv2.resize(image, (WIDTH, HEIGHT))[:, :, ::-1]
        fed = np.ascontiguousarray((small * multiply + add).transpose(2, 0, 1)[None])
        logits, boxes = map(torch.from_numpy, run(path, fed))
        outputs = SimpleNamespace(logits=logits, pred_boxes=boxes)
        (own,) = processor().post_process_object_detection(
            outputs, threshold=limits.score, target_sizes=[image.shape[:2]]
        )
        rows = np.column_stack([own[k].numpy() for k in ('labels', 'scores', 'boxes')])
        assert_same(found, rows, at_least=3)


def test_whose_it_is_is_asked(tmp_path: Path) -> None:
    path = detr(tmp_path / 'm.onnx')
    with pytest.raises(ModelError, match='may be of detr or rt_detr or d_fine or rf_detr: say'):
        load_model_spec(path)
    fed = {}
    for head in ('rt_detr', 'rf_detr', 'detr'):
        path.with_suffix('.yaml').write_text(f'head: {head}\n')
        if head == 'detr':  # whose last logit is nothing
            (tmp_path / 'labels.txt').write_text('\n'.join('abcd'[: CLASSES - 1]))
        spec = load_model_spec(path)
        fed[head] = spec.input.mean[0], spec.head.classes
    assert fed == {
        'rt_detr': (0.0, CLASSES), 'rf_detr': (0.485, CLASSES), 'detr': (0.485, CLASSES - 1),
    }  # fmt: skip


@pytest.mark.parametrize('wrong', ['corners', 'pixels', 'probabilities'])
def test_what_only_looks_like_it_is_refused(tmp_path: Path, wrong: str) -> None:
    path = detr(tmp_path / 'm.onnx', wrong)
    path.with_suffix('.yaml').write_text('head: rt_detr\n')
    with pytest.raises(ModelError, match='not a rt_detr'):
        load_model_spec(path)
