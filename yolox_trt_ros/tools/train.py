"""Train a detector on labelled pictures, and make it ready to run: ONNX, figures, INT8, a card.

  train --data LABELS [DIR] --out my_model                    a new edge_n on all classes
  train --data COCO.json DIR --classes person,cat,dog --from edge_s --out my_model
  train --data D --from yolox_s.pth --design yolox_s_dla --out my_model
  train --data D --out my_model --resume                      go on after an interruption
  train --data D --out my_model --gpus 2                     or torchrun … -m yolox_trt_ros train …
  train report my_model                                       one HTML page about a run

LABELS is COCO or BDD100K JSON; a folder or list of Pascal VOC; a folder, list, .data or data.yaml
of darknet labels. Needs the extra [train].
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from yolox_trt_ros.cli import labelled
from yolox_trt_ros.cli.numbers import input_size, number
from yolox_trt_ros.core.errors import ConfigError, MissingDependencyError
from yolox_trt_ros.core.printing import one_line
from yolox_trt_ros.core.text_files import parse_json

if TYPE_CHECKING:
    from yolox_trt_ros.datasets.labelled import LabelledData
    from yolox_trt_ros.training.job import TrainingJob
    from yolox_trt_ros.training.networks.weights import Source
    from yolox_trt_ros.training.runs.ranks import Ranks
    from yolox_trt_ros.training.runs.settings import Settings

LISTS = ('.data', '.yaml', '.yml')
"""Files that name several parts of a data set."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    tasks = parser.add_subparsers(dest='task', metavar='[report]')
    report = tasks.add_parser('report', help='write one HTML page about a run')
    report.add_argument('run_folder', type=Path, metavar='RUN', help='folder of a run')
    report.add_argument('--output', type=Path, help='the page (default: RUN/report.html)')
    data = parser.add_argument_group('data')
    data.add_argument(
        '--data', nargs='+', type=Path, metavar='LABELS [DIR]', help=labelled.DATA_HELP
    )
    data.add_argument(
        '--val', nargs='+', type=Path, metavar='LABELS [DIR]',
        help='labelled data to validate with (default: the val part of a .data or .yaml file, '
        'else a share of --data)',
    )  # fmt: skip
    data.add_argument(
        '--hold-out', type=number(0.01, 0.9), default=0.1, metavar='SHARE',
        help='share to validate with, where --val is not given (default: 0.1)',
    )  # fmt: skip
    data.add_argument(
        '--check', choices=('all', 'boxes', 'none'), default='all',
        help='look for problems before the first step: in labels and pictures, labels alone, or '
        'not (default: all)',
    )  # fmt: skip
    labelled.add_reading_arguments(data)
    _add_model(parser.add_argument_group('model'))
    _add_run(parser.add_argument_group('run'))


def _add_model(group: argparse._ArgumentGroup) -> None:
    group.add_argument('--out', type=Path, metavar='DIR', help='folder of the run and its models')
    group.add_argument(
        '--from', dest='source', default='', metavar='WEIGHTS',
        help='begin with these weights: a packaged model, an ONNX file, a checkpoint of Megvii '
        'YOLOX (.pth), or the folder of a run',
    )  # fmt: skip
    group.add_argument(
        '--design', default='', metavar='NAME',
        help='edge_n, edge_s; yolox_nano to yolox_x, as Megvii published them; the same with _dla '
        '(default: that of the weights, else edge_n)',
    )  # fmt: skip
    group.add_argument(
        '--size', default='', metavar='WxH', help='of the input (default: of the weights or design)'
    )
    group.add_argument(
        '--changes', default='{}', metavar='JSON',
        help='changes to the design, such as {"act": "silu"} or {"channels": [16, 16, 32, 64, 96]}',
    )  # fmt: skip
    group.add_argument(
        '--no-quantize', dest='quantize', action='store_false', help='make no INT8 models'
    )


def _add_run(group: argparse._ArgumentGroup) -> None:
    whole, positive = number(1, 1e6, int), number(1e-9, 1e9)
    group.add_argument('--epochs', type=whole, default=100, help='(default: 100)')
    group.add_argument(
        '--minutes', type=number(0), default=0.0, help='fewer epochs if they take longer than this'
    )
    group.add_argument(
        '--batch',
        type=whole,
        default=32,
        help='pictures of a step, of all GPUs (default: 32)',
    )
    group.add_argument(
        '--memory-gib', type=positive, metavar='GIB',
        help='find how many pictures at once fit in this; --batch stays, in parts',
    )  # fmt: skip
    group.add_argument(
        '--rate', type=positive, help='learning rate (default: 1e-3, with --from 4e-4)'
    )
    group.add_argument(
        '--patience', type=number(0, 1e6, int), default=0, metavar='N',
        help='end after N validations without a better mAP (default: never)',
    )  # fmt: skip
    group.add_argument('--every', type=whole, default=1, help='epochs a validation (default: 1)')
    group.add_argument('--seed', type=number(0, 2**31, int), default=0)
    group.add_argument('--precision', choices=('bf16', 'fp16', 'fp32'), help='default: bf16')
    group.add_argument(
        '--batch-norm', choices=('own', 'sync', 'frozen'),
        help='statistics of each GPU, of all, or those of the weights (default: sync on GPUs)',
    )  # fmt: skip
    group.add_argument('--device', default='', help='cuda or cpu (default: a GPU, if there is one)')
    group.add_argument(
        '--gpus', type=whole, default=1, metavar='N', help='train on N GPUs of this machine'
    )
    group.add_argument(
        '--workers',
        type=number(0, 512, int),
        help='processes that read (default: cores, to 8)',
    )
    group.add_argument(
        '--hold', choices=('auto', 'yes', 'no'), default='auto',
        help='keep all pictures in the memory of the device (default: auto, if they fit)',
    )  # fmt: skip
    group.add_argument(
        '--resume', action='store_true', help='go on where the run in --out ended or was killed'
    )


def run(args: argparse.Namespace) -> int:
    """Run the tool and return its exit code."""
    if args.task == 'report':
        from yolox_trt_ros.training.results.page import write_page

        page = args.output or args.run_folder / 'report.html'
        write_page(args.run_folder, page)
        print(f'{page} written')
        return 0
    if not args.data or not args.out:
        raise ConfigError('expected --data LABELS and --out DIR (or: train report RUN)')
    if not args.resume and (args.out / 'last.pt').exists():
        raise ConfigError(
            f'{one_line(args.out)}: has a run already: --resume goes on with it, another --out '
            'begins a new one'
        )
    try:
        from yolox_trt_ros.training.runs.ranks import joined, start_ranks
    except ImportError as error:
        raise MissingDependencyError(
            f"training needs PyTorch: pip install 'yolox_trt_ros[train]' ({error})"
        ) from error
    if args.gpus > 1 and 'WORLD_SIZE' not in os.environ:
        start_ranks(args.gpus, sys.argv[1:])
    with joined(args.device) as ranks:
        return _train(args, ranks)


def _train(args: argparse.Namespace, ranks: Ranks) -> int:
    from yolox_trt_ros.cli.training_progress import TrainingProgress
    from yolox_trt_ros.training.job import train
    from yolox_trt_ros.training.results.finish import launch_line

    job = _job(args, ranks)
    with TrainingProgress(ranks.first) as shown:
        try:
            finished = train(job, ranks, shown.say, shown.update)
        except KeyboardInterrupt:
            shown.say(f'interrupted; the same command with --resume goes on: {args.out}')
            raise
    if finished is None:
        return 0
    print(f'launch it: {launch_line(finished)}')
    return 0 if all(code in (0, 3) for code in finished.answers.values()) else 1


def _job(args: argparse.Namespace, ranks: Ranks) -> TrainingJob:
    from yolox_trt_ros.training.job import TrainingJob
    from yolox_trt_ros.training.runs.checkpoint import load_last
    from yolox_trt_ros.training.runs.settings import settings_of

    args.out.mkdir(parents=True, exist_ok=True)
    train, val, labels = _data(args, ranks)
    source = None
    if args.resume:
        settings = settings_of(load_last(args.out)['settings'])
        if settings.spec.classes != train.classes:
            raise ConfigError(
                f'--resume: the run has the classes {", ".join(settings.spec.classes)}, the data '
                f'{", ".join(train.classes)}'
            )
    else:
        settings, source = _settings(args, train, ranks)
    workers = args.workers if args.workers is not None else min(8, os.cpu_count() or 1)
    return TrainingJob(
        settings, train, val, labels, args.out, source, args.resume, workers, args.hold,
        args.quantize,
    )  # fmt: skip


def _settings(
    args: argparse.Namespace, train: LabelledData, ranks: Ranks
) -> tuple[Settings, Source | None]:
    from yolox_trt_ros.training.networks.build import published_size, spec_of
    from yolox_trt_ros.training.networks.weights import read_source
    from yolox_trt_ros.training.runs.fit import fitted
    from yolox_trt_ros.training.runs.settings import Settings

    source = read_source(args.source, args.design) if args.source else None
    known = source.spec if source else None
    design = args.design or (known.design if known else 'edge_n')
    same = known is not None and known.design == design
    size = input_size(args.size)
    if not size:
        size = known.size if same and known else published_size(design)
    changes = parse_json(args.changes, '--changes')
    spec = spec_of(
        {'design': design, 'classes': train.classes, 'size': size,
         'changes': {**(known.changes if same and known else {}), **changes}}
    )  # fmt: skip
    spec.build()  # a design or a change that there is not is told before anything else
    settings = Settings(
        spec,
        epochs=args.epochs,
        minutes=args.minutes,
        batch=args.batch,
        rate=args.rate or (4e-4 if source else 1e-3),
        every=args.every,
        patience=args.patience,
        seed=args.seed,
        precision=args.precision or 'bf16',
        batch_norm=args.batch_norm
        or ('sync' if ranks.count > 1 and ranks.device.startswith('cuda') else 'own'),
        source=source.name if source else '',
    )
    if args.memory_gib:
        settings, said = fitted(settings, ranks, args.memory_gib)
        if ranks.first:
            print(said)
    return settings, source


def _data(args: argparse.Namespace, ranks: Ranks) -> tuple[LabelledData, LabelledData, Path]:
    """Return what is learned from, what is validated with, and where the latter is written."""
    from yolox_trt_ros.training.runs.prepare import checked, held_out, write_validation

    parts = args.data[0].suffix.lower() in LISTS
    given = argparse.Namespace(**{**vars(args), 'part': args.part or ('train' if parts else '')})
    train = labelled.data_of(given, args.data)
    if args.val or parts:
        given.part = 'val' if parts else args.part
        val = labelled.data_of(given, args.val or args.data)
    else:
        train, val = held_out(train, args.hold_out, args.seed)
    quiet: Any = labelled.tracked if ranks.first else lambda items, _: items
    # Every rank leaves out the same pictures; one of them says why.
    train, val, wrong = checked(train, val, args.check, quiet)
    if ranks.first:
        print(
            f'{len(train.images):,} pictures to learn from, {len(val.images):,} to validate with; '
            f'classes: {one_line(", ".join(train.classes))}'
        )
        for sentence in wrong:
            print(sentence, file=sys.stderr)
        write_validation(val, args.out / 'data', quiet)
    return train, val, args.out / 'data' / 'val.json'
