"""Write what Transformers finds with its own post-processing, for test_detr.py to compare with.

    pip install torch transformers onnx onnxruntime opencv-python-headless
    PYTHONPATH=test:test/detect/heads python test/detect/heads/record_transformers.py

Writes, for each family, the model with its random weights and the rows that were found.
"""

from __future__ import annotations

import json
import lzma
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
import onnxruntime as ort
from transformers_models import IMAGES, MODELS, detections, export, fed

RECORDED = Path(__file__).parent / 'recorded'


def threshold(rows: np.ndarray) -> float:
    """Return a threshold amid the scores that none is near, so that rounding moves none across."""
    scores = np.sort(rows[:, 1])
    some = scores[len(scores) // 3 : 2 * len(scores) // 3]
    gap = int(np.diff(some).argmax())
    return float(some[gap : gap + 2].mean())


def packable(path: Path) -> onnx.ModelProto:
    """Return a model without notes, its weights rounded to four digits of their mantissa.

    They are random anyway, and take a third of the space then.
    """
    model = onnx.load(str(path))
    for node in model.graph.node:
        node.ClearField('doc_string')
        del node.metadata_props[:]
    del model.graph.value_info[:]
    for weight in model.graph.initializer:
        value = onnx.numpy_helper.to_array(weight)
        if value.dtype == np.float32 and value.size > 64:
            short = (value.view(np.uint32) & np.uint32(0xFFF80000)).view(np.float32)
            weight.CopyFrom(onnx.numpy_helper.from_array(short, weight.name))
    return model


def made(name: str) -> bytes:
    """Return a model made anew."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / 'm.onnx'
        export(name, path)
        return packable(path).SerializeToString()


def main() -> None:
    """Write all of it; models that are there already only if they are named."""
    import torch
    import transformers

    RECORDED.mkdir(exist_ok=True)
    found = {}
    for name in MODELS:
        file = RECORDED / f'{name}.onnx.xz'
        if name in sys.argv[1:] or not file.is_file():
            file.write_bytes(lzma.compress(made(name), preset=9 | lzma.PRESET_EXTREME))
        session = ort.InferenceSession(
            lzma.decompress(file.read_bytes()), providers=['CPUExecutionProvider']
        )
        rows = [
            detections(name, session.run(['logits', 'pred_boxes'], {'images': fed(name, i)}), i)
            for i in IMAGES
        ]
        limits = [threshold(r) for r in rows]
        kept = [r[r[:, 1] > limit].round(5).tolist() for r, limit in zip(rows, limits, strict=True)]
        print(f'{name}: thresholds {limits}, {[len(r) for r in kept]} detections')
        found[name] = {'thresholds': limits, 'rows': kept}
    versions = {p.__name__: p.__version__ for p in (torch, transformers, ort)}
    text = json.dumps({'versions': versions, 'found': found})
    (RECORDED / 'transformers.json').write_text(text + '\n')


if __name__ == '__main__':
    main()
