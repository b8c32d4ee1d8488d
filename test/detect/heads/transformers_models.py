"""DETR and its successors as Hugging Face's Transformers has them, small and untrained."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from tiny_models import HEIGHT, WIDTH

LABELS = [f'class {i}' for i in range(5)]
QUERIES = sum((HEIGHT // s) * (WIDTH // s) for s in (8, 16, 32))
"""As many as there are cells: which of them are the best is chance without training."""
IMAGES = [
    np.random.default_rng(i).integers(0, 256, size, np.uint8)
    for i, size in enumerate([(100, 91, 3), (40, 131, 3), (HEIGHT, WIDTH, 3)])
]
SMALL = {
    'd_model': 16, 'num_queries': QUERIES, 'decoder_layers': 2, 'decoder_ffn_dim': 16,
    'decoder_attention_heads': 2, 'encoder_attention_heads': 2, 'encoder_ffn_dim': 16,
    'num_labels': len(LABELS),
}  # fmt: skip
PYRAMID = {
    **SMALL, 'encoder_hidden_dim': 16, 'encoder_in_channels': [16, 16, 16],
    'decoder_in_channels': [16, 16, 16], 'num_denoising': 0,
}  # fmt: skip


def _resnet(kind: Any, **more: Any) -> Any:
    sizes = {'embedding_size': 16, 'hidden_sizes': [16] * 4, 'depths': [1] * 4}
    return kind(**sizes, layer_type='basic', **more)


def _rt_detr(transformers: Any) -> Any:
    stages = ['stage2', 'stage3', 'stage4']
    backbone = _resnet(transformers.RTDetrResNetConfig, out_features=stages)
    config = transformers.RTDetrConfig(backbone_config=backbone, **PYRAMID)
    return transformers.RTDetrForObjectDetection(config)


def _d_fine(transformers: Any) -> Any:
    stages = ['stage2', 'stage3', 'stage4']
    backbone = _resnet(transformers.RTDetrResNetConfig, out_features=stages)
    config = transformers.DFineConfig(backbone_config=backbone, **PYRAMID)
    return transformers.DFineForObjectDetection(config)


def _detr(transformers: Any) -> Any:
    backbone = _resnet(transformers.ResNetConfig, out_features=['stage4'])
    config = transformers.DetrConfig(
        backbone_config=backbone, use_timm_backbone=False, encoder_layers=1, **SMALL
    )
    return transformers.DetrForObjectDetection(config)


def _rf_detr(transformers: Any) -> Any:
    backbone = transformers.RfDetrDinov2Config(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, mlp_ratio=1, patch_size=8,
        image_size=SIDE, out_features=['stage1', 'stage2'], num_windows=1,
    )  # fmt: skip
    config = transformers.RfDetrConfig(
        backbone_config=backbone, d_model=16, decoder_ffn_dim=16, decoder_layers=2,
        decoder_self_attention_heads=2, decoder_cross_attention_heads=2, group_detr=1,
        num_queries=(SIDE // 8) ** 2, num_labels=len(LABELS), intermediate_size=16,
    )  # fmt: skip
    model = transformers.RfDetrForObjectDetection(config)
    for module in model.modules():
        if hasattr(module, 'interpolate_pos_encoding'):  # which ONNX cannot; the size is its own
            module.interpolate_pos_encoding = lambda *_, own=module: own.position_embeddings
    return model


MODELS: dict[str, Callable[[Any], Any]] = {
    'rt_detr': _rt_detr,
    'd_fine': _d_fine,
    'rf_detr': _rf_detr,
    'detr': _detr,
}
SIDE = 64
"""Of RF-DETR's input, whose positions are those of a square."""
PROCESSORS = {'detr': 'DetrImageProcessor', 'rf_detr': 'RfDetrImageProcessor'}


def size_of(name: str) -> tuple[int, int]:
    """Return height and width of a model's input."""
    return (SIDE, SIDE) if name == 'rf_detr' else (HEIGHT, WIDTH)


def processor(name: str) -> Any:
    """Return a family's own image processor, which also makes detections of outputs."""
    import transformers

    own = PROCESSORS.get(name, 'RTDetrImageProcessor')
    return (getattr(transformers, f'{own}Pil', None) or getattr(transformers, own))()


def export(name: str, path: Path) -> None:
    """Write a model as ONNX that ends in logits and boxes."""
    import torch
    import transformers

    torch.manual_seed(0)
    model = MODELS[name](transformers).eval()
    with torch.no_grad():  # as trained ones, it is sure of something, here and there
        for key, weight in model.named_parameters():
            if 'class' in key and weight.ndim == 1:
                weight.zero_()
            if ('class' in key or 'bbox' in key) and weight.ndim == 2:
                weight.normal_(0, 0.3)

    class Plain(torch.nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, images: Any) -> Any:
            found = self.model(images)
            return found.logits, found.pred_boxes

    torch.onnx.export(
        Plain().eval(), (torch.zeros(1, 3, *size_of(name)),), str(path), input_names=['images'],
        output_names=['logits', 'pred_boxes'], opset_version=18, dynamo=False,
    )  # fmt: skip


def fed(name: str, image: np.ndarray) -> np.ndarray:
    """Return what the family's own processor makes of a BGR image that has the input's size."""
    small = np.ascontiguousarray(cv2.resize(image, size_of(name)[::-1])[:, :, ::-1])
    given = {'do_resize': False, 'do_pad': False, 'return_tensors': 'np'}
    made: np.ndarray = processor(name)(images=small, **given)['pixel_values']
    return made


def detections(name: str, outputs: list[np.ndarray], image: np.ndarray) -> np.ndarray:
    """Return rows of class, score and corners that the family's own processor finds."""
    from types import SimpleNamespace

    import torch

    logits, boxes = map(torch.from_numpy, outputs)
    (own,) = processor(name).post_process_object_detection(
        SimpleNamespace(logits=logits, pred_boxes=boxes),
        threshold=0.0,
        target_sizes=[image.shape[:2]],
    )
    return np.column_stack([own[k].numpy() for k in ('labels', 'scores', 'boxes')])
