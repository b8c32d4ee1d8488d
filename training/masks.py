"""Give a packaged model a segmentation head, and train both on rendered worlds.

python -m training.data train 300 WORK           (pictures, boxes and masks; needs no GPU)
python -m training.masks --data WORK --model models/edge_s.onnx --design edge_s --onnx edge_s_masks

The head learns the classes of pixels, and the network learns with it, slowly; its boxes are held to
what they were: beside the masks' loss is that of the maps against those of the model as it came.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import sys
import time
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from torch import Tensor

from training.data import CHANCES, Pictures, augment, moved_masks
from training.export import finish
from training.from_onnx import read_network
from training.mask_head import (
    STRIDE,
    SegmentingYolox,
    WithMasks,
    box_loss,
    class_weights,
    mask_loss,
)
from yolox_trt_ros.detect.description import METADATA_KEY, describe
from yolox_trt_ros.sim.world.truth import MASK_CLASSES
from yolox_trt_ros.training.networks.edge import DESIGNS, EDGE_N, EdgeYolox
from yolox_trt_ros.training.results.export import OPSET, TOLERANCE, fused, round_to_half

BOX_WEIGHT = 2.0
"""Of the maps' loss beside that of the masks."""
TRUNK_RATE = 0.05
"""Learning rate of the network as a part of the head's."""
WARMUP = 50
LAYOUT = {'tiny': EDGE_N.with_(height=64, width=96, channels=(8, 8, 16, 16, 32), head=16)}
"""Designs for trying this on a processor."""


def train(args: argparse.Namespace) -> SegmentingYolox:
    """Return the trained network, on the CPU."""
    torch.manual_seed(args.seed)
    began = time.monotonic()
    network = start(args).to(args.device)
    before = copy.deepcopy(network).eval().requires_grad_(False)
    both = SegmentingYolox(network, len(MASK_CLASSES)).to(args.device)
    design = network.design
    data = Pictures(args.data, 'train', (design.height, design.width), args.device, args.limit)
    masks = torch.from_numpy(np.load(args.data / 'train_masks.npy')[: len(data)]).to(args.device)
    counts = torch.bincount(masks[:512].flatten().long(), minlength=len(MASK_CLASSES))
    weights = class_weights(counts)
    groups = [
        {'params': list(network.parameters()), 'lr': args.lr * TRUNK_RATE, 'weight_decay': 0.0},
        {'params': list(both.masks.parameters()), 'lr': args.lr, 'weight_decay': 0.01},
    ]
    optimiser = torch.optim.AdamW(groups)
    plan = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda k: rate(k, args.steps))
    random = torch.Generator(args.device).manual_seed(args.seed)
    both.network.eval()  # batch norms keep what they were given
    both.masks.train()
    for k in range(args.steps):
        if args.minutes and time.monotonic() - began > 60 * args.minutes:
            print(f'{args.minutes:g} minutes are over after {k} steps', flush=True)
            break
        losses = one_step(both, before, data, masks, weights, random, args)
        optimiser.zero_grad(set_to_none=True)
        losses['total'].backward()
        torch.nn.utils.clip_grad_norm_(both.parameters(), 10.0)
        optimiser.step()
        plan.step()
        if (k + 1) % args.log == 0:
            seen = {name: round(v.item(), 4) for name, v in losses.items()}
            print(f'step {k + 1}/{args.steps} {time.monotonic() - began:.0f} s {seen}', flush=True)
    return both.cpu().eval()


def start(args: argparse.Namespace) -> torch.nn.Module:
    """Return the network that is trained further; without a file one of random weights."""
    if args.model:
        return read_network(args.model, DESIGNS[args.design])
    from yolox_trt_ros.sim.world.bodies import CLASSES

    return EdgeYolox({**DESIGNS, **LAYOUT}[args.design], len(CLASSES)).eval()


def one_step(
    both: SegmentingYolox,
    before: torch.nn.Module,
    data: Pictures,
    masks: Tensor,
    weights: Tensor,
    random: torch.Generator,
    args: argparse.Namespace,
) -> dict[str, Tensor]:
    """Return the losses of a batch of random pictures, ``total`` among them."""
    device = args.device
    index = torch.randint(len(data), (args.batch,), generator=random, device=device)
    chance = torch.rand((args.batch, CHANCES), generator=random, device=device)
    zoom = torch.ones((), device=device)
    picture, _ = augment(data.images[index], data.labels[index], chance, zoom, data.size)
    target = moved_masks(masks[index], chance, zoom, data.size, STRIDE)
    with torch.autocast(device.split(':')[0], torch.bfloat16, enabled=device != 'cpu'):
        with torch.no_grad():
            wanted = before(picture)
        maps, scores = both(picture)
    losses = {
        'masks': mask_loss(scores, target, weights),
        'boxes': BOX_WEIGHT * box_loss(maps, wanted),
    }
    return {**losses, 'total': losses['masks'] + losses['boxes']}


def rate(step: int, steps: int) -> float:
    """Return the learning rate of a step as a share of the highest: warm-up, then cosine."""
    warm = min(1.0, (step + 1) / WARMUP)
    return warm * (0.02 + 0.98 * (1 + math.cos(math.pi * min(1.0, step / max(1, steps)))) / 2)


def export(both: SegmentingYolox, stem: Path, half: bool) -> Path:
    """Write ``<stem>.onnx`` with its two outputs, and compare it with PyTorch.

    Raises:
        AssertionError: ONNX Runtime and PyTorch differ by more than :data:`TOLERANCE`.
    """
    plain = fused(both)
    if half:
        round_to_half(plain)
    design, path = both.network.design, stem.with_name(f'{stem.name}.onnx')
    size = (1, 3, design.height, design.width)
    image = torch.from_numpy(np.random.default_rng(0).uniform(0, 255, size)).float()
    model = WithMasks(plain).eval()
    with torch.no_grad():
        torch.onnx.export(
            model,
            (image,),
            str(path),
            input_names=['images'],
            output_names=['output', 'masks'],
            opset_version=OPSET,
            dynamo=False,
        )
        expected = model(image)
    finish(path, half)
    proto = onnx.load(str(path))
    about = {p.key: p.value for p in proto.metadata_props}[METADATA_KEY]
    masks = {'segmentation': 'masks', 'segmentation_labels': list(MASK_CLASSES)}
    describe(proto, {**json.loads(about), **masks})
    onnx.save(proto, str(path))
    session = onnxruntime.InferenceSession(str(path), providers=['CPUExecutionProvider'])
    for got, want in zip(session.run(None, {'images': image.numpy()}), expected, strict=True):
        worst = float(np.abs(got - want.numpy()).max() / max(1.0, float(want.abs().max())))
        if worst > TOLERANCE:
            raise AssertionError(f'{path}: differs from PyTorch by {worst:.2e}')
    return path


def main() -> None:
    """Train, and write the model."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--data', type=Path, required=True, help='what training.data rendered')
    parser.add_argument('--model', type=Path, help='packaged ONNX; without it: random weights')
    parser.add_argument('--design', choices=(*DESIGNS, *LAYOUT), default='edge_s')
    parser.add_argument('--onnx', type=Path, required=True, help='write <path>.onnx')
    parser.add_argument('--half', action='store_true', help='store the weights as FP16')
    parser.add_argument('--steps', type=int, default=3000)
    parser.add_argument('--minutes', type=float, default=0, help='end after so many; 0: no limit')
    parser.add_argument('--batch', type=int, default=16)
    parser.add_argument('--lr', type=float, default=2e-3)
    parser.add_argument('--limit', type=int, default=0, help='use this many pictures; 0: all')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--device', default='cuda')
    parser.add_argument('--log', type=int, default=100, help='steps between progress lines')
    args = parser.parse_args()
    args.onnx.parent.mkdir(parents=True, exist_ok=True)
    print(f'written: {export(train(args), args.onnx, args.half)}')


if __name__ == '__main__':
    try:
        main()
    except KeyboardInterrupt:
        sys.exit('interrupted')
