"""Train one network on rendered worlds, write it as ONNX and measure it."""

from __future__ import annotations

import argparse
import copy
import json
import math
import time
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from training.data import HEIGHT, WIDTH, Batches
from training.export import export
from training.loss import YoloxLoss
from training.network import DESIGNS, EdgeYolox, decode, gflops
from yolox_trt_ros.sim.world.bodies import CLASSES
from yolox_trt_ros.tools._coco_metrics import Found, Labels, average_precision

WARMUP_STEPS = 400
SCORE, NMS_IOU = 0.01, 0.65


class Average:
    """Exponential moving average of a network's weights, quick at first."""

    def __init__(self, network: nn.Module, decay: float = 0.9997) -> None:
        self.network = copy.deepcopy(network).eval().requires_grad_(False)
        self._decay, self._steps = decay, 0

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        self._steps += 1
        decay = self._decay * (1 - math.exp(-self._steps / 1000))
        mine, theirs = self.network.state_dict(), network.state_dict()
        for name, value in mine.items():
            if value.dtype.is_floating_point:
                value.lerp_(theirs[name].to(value.dtype), 1 - decay)
            else:
                value.copy_(theirs[name])


def train(args: argparse.Namespace) -> dict[str, object]:
    torch.manual_seed(args.seed)
    torch.backends.cudnn.benchmark = True
    design = DESIGNS[args.design].with_(**json.loads(args.changes))
    size, device = (design.height, design.width), args.device
    data = Batches(args.data, 'train', size, args.batch, device, args.seed, args.limit)
    network = EdgeYolox(design, len(CLASSES)).to(device, memory_format=torch.channels_last)
    average = Average(network)
    loss_of = YoloxLoss(len(CLASSES), size, device)
    plain = [p for p in network.parameters() if p.ndim < 2]
    decayed = [p for p in network.parameters() if p.ndim >= 2]
    optimiser = torch.optim.AdamW(
        [{'params': plain, 'weight_decay': 0.0}, {'params': decayed, 'weight_decay': 0.03}],
        lr=args.lr,
    )
    start = lap = time.monotonic()
    for step in range(args.steps):
        rate = args.lr * min(1.0, (step + 1) / WARMUP_STEPS)
        if step > WARMUP_STEPS:
            done = (step - WARMUP_STEPS) / max(1, args.steps - WARMUP_STEPS)
            rate *= 0.02 + 0.98 * (1 + math.cos(math.pi * done)) / 2
        for group in optimiser.param_groups:
            group['lr'] = rate
        picture, labels = data.take()
        with torch.autocast(device.split(':')[0], torch.bfloat16):
            maps = network(picture.contiguous(memory_format=torch.channels_last))
        raw = torch.cat([m[0].flatten(2) for m in maps], 2).permute(0, 2, 1).float()
        losses = loss_of(decode(maps), raw, labels, use_l1=step > 0.7 * args.steps)
        optimiser.zero_grad(set_to_none=True)
        losses['total'].backward()
        nn.utils.clip_grad_norm_(network.parameters(), 35.0)
        optimiser.step()
        average.update(network)
        if (step + 1) % args.log == 0:
            seen = {k: round(v.item(), 3) for k, v in losses.items()}
            speed, lap = args.log * args.batch / (time.monotonic() - lap), time.monotonic()
            print(
                f'{args.name} step {step + 1}/{args.steps} {speed:.0f} pictures/s {seen}',
                flush=True,
            )
        if (step + 1) % args.save == 0 or step + 1 == args.steps:
            save(average.network, args)
    result = {
        'name': args.name,
        'design': design.as_dict(),
        'gflops': round(gflops(design, len(CLASSES)), 2),
        'parameters': sum(p.numel() for p in network.parameters()),
        'steps': args.steps,
        'batch': args.batch,
        'pictures': len(data),
        'minutes': round((time.monotonic() - start) / 60, 2),
        'val': evaluate(average.network, args, size, device),
    }
    (args.out / f'{args.name}.json').write_text(json.dumps(result, indent=1))
    print(json.dumps({k: result[k] for k in ('name', 'gflops', 'minutes', 'val')}), flush=True)
    return result


def save(network: nn.Module, args: argparse.Namespace) -> None:
    state = {
        k: v.half() if v.dtype.is_floating_point else v for k, v in network.state_dict().items()
    }
    partial = args.out / f'{args.name}.pt.part'
    torch.save({'changes': args.changes, 'design': args.design, 'state': state}, partial)
    partial.replace(args.out / f'{args.name}.pt')


def load(path: Path) -> EdgeYolox:
    """Return the network of a checkpoint that :func:`save` wrote, on the CPU."""
    content = torch.load(path, map_location='cpu', weights_only=True)
    design = DESIGNS[content['design']].with_(**json.loads(content['changes']))
    network = EdgeYolox(design, len(CLASSES))
    network.load_state_dict(
        {k: v.float() if v.is_floating_point() else v for k, v in content['state'].items()}
    )
    return network.eval()


@torch.no_grad()
def evaluate(
    network: nn.Module, args: argparse.Namespace, size: tuple[int, int], device: str
) -> dict[str, object]:
    """Return COCO metrics on the validation split, which must be rendered."""
    data = Batches(args.data, 'val', size, 32, device, 0)
    labels: list[Labels] = []
    found: list[Found] = []
    scale = min(size[0] / HEIGHT, size[1] / WIDTH)
    for start in range(0, len(data), 32):
        picture, rows = data.plain(start, start + 32)
        with torch.autocast(device.split(':')[0], torch.bfloat16, enabled=device != 'cpu'):
            predicted = decode(network(picture))
        for one, row in zip(predicted, rows.cpu().numpy(), strict=True):
            found.append(suppress(one, scale))
            row = row[row[:, 0] >= 0]
            labels.append(Labels(row[:, 1:5], row[:, 0].astype(int), row[:, 5] > 0))
    return average_precision(labels, found, CLASSES)


def suppress(predicted: Tensor, scale: float) -> Found:
    """Return one picture's detections in source pixels, after non-maximum suppression."""
    score = predicted[:, 4:5].sigmoid() * predicted[:, 5:].sigmoid()
    anchor, class_id = (score > SCORE).nonzero(as_tuple=True)
    kept = score[anchor, class_id]
    if len(kept) > 2000:
        kept, best = kept.topk(2000)
        anchor, class_id = anchor[best], class_id[best]
    box = predicted[anchor, :4]
    corner = torch.cat([box[:, :2] - box[:, 2:] / 2, box[:, 2:]], 1).cpu().numpy() / scale
    scores, ids = kept.cpu().numpy(), class_id.cpu().numpy()
    if not len(scores):
        return np.zeros((0, 4)), scores, ids
    keep = cv2.dnn.NMSBoxesBatched(corner.tolist(), scores.tolist(), ids.tolist(), SCORE, NMS_IOU)
    keep = np.asarray(keep, int).reshape(-1)[:100]
    corner[:, 2:] += corner[:, :2]
    return corner[keep], scores[keep], ids[keep]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--data', type=Path, required=True, help='folder of the rendered splits')
    parser.add_argument('--out', type=Path, required=True, help='folder for checkpoint and metrics')
    parser.add_argument('--name', required=True, help='name of the files written')
    parser.add_argument('--design', choices=sorted(DESIGNS), required=True)
    parser.add_argument('--changes', default='{}', help='JSON object of changes to the design')
    parser.add_argument('--steps', type=int, required=True)
    parser.add_argument('--batch', type=int, default=64)
    parser.add_argument('--lr', type=float, default=2e-3)
    parser.add_argument('--limit', type=int, default=0, help='use this many pictures; 0: all')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--device', default='cuda')
    parser.add_argument('--log', type=int, default=100, help='steps between progress lines')
    parser.add_argument('--save', type=int, default=1000, help='steps between checkpoints')
    parser.add_argument(
        '--onnx', type=Path, help='write <path>.onnx and <path>_cut.onnx at the end'
    )
    parser.add_argument('--half', action='store_true', help='store the ONNX weights as FP16')
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    train(args)
    if args.onnx:
        export(load(args.out / f'{args.name}.pt'), args.onnx, args.half)


if __name__ == '__main__':
    main()
