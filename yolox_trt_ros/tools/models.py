"""List models of others, pull one, convert darknet's, or show what is known of a model file.

YOLOX of its authors (nano to x, Apache-2.0) and Autoware's are known by name. "pull" fetches one,
with its class names; then its name is a model: --model yolox_s, or model.path of a vehicle file. A
download that broke off goes on where it stopped. Checksums are compared, with the published ones or
else with those of the first download. Proxies are those of the environment (https_proxy).
"--mirror" names other servers, or a folder for a computer without a network, that have the files
under their own names, which "list --files" shows. "convert" writes darknet's .cfg and .weights as
ONNX.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from yolox_trt_ros.cli.console import Console, Text
from yolox_trt_ros.core.errors import ConfigError, ModelError, YoloxTrtRosError
from yolox_trt_ros.core.printing import one_line
from yolox_trt_ros.packaged_models import caution, find_model
from yolox_trt_ros.published_models.catalogue import CATALOGUE, PublishedModel, published
from yolox_trt_ros.published_models.download import digest_of
from yolox_trt_ros.published_models.kept import kept_file, models_folder, pull


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    what = parser.add_subparsers(dest='what', metavar='list|pull|convert|show', required=True)
    listing = what.add_parser('list', help='which models can be pulled, and which were')
    listing.add_argument('--files', action='store_true', help='where each file is, for mirrors')
    pulling = what.add_parser('pull', help='fetch models')
    pulling.add_argument('names', nargs='+', metavar='NAME', help='as "list" shows it')
    pulling.add_argument(
        '--mirror', action='append', default=[], metavar='URL|DIR',
        help='server or folder to ask for the files first; several are asked in turn',
    )  # fmt: skip
    pulling.add_argument(
        '--accept-changed', action='store_true',
        help='take a file whose checksum has changed, and remember the new one',
    )  # fmt: skip
    _add_convert(what)
    showing = what.add_parser('show', help='what is known of a model file')
    showing.add_argument('file', metavar='FILE', help='file, or name of a packaged or pulled model')
    showing.add_argument('--labels', type=Path, help='text file, one class name a line')
    for command in (listing, pulling):
        command.add_argument(
            '--folder', type=Path, default=models_folder(),
            help='where pulled models are kept (default: %(default)s); models elsewhere are named '
            'by their path',
        )  # fmt: skip


def _add_convert(what: Any) -> None:
    converting = what.add_parser(
        'convert', help="write darknet's .cfg and .weights (YOLOv3, YOLOv4) as ONNX"
    )
    converting.add_argument('cfg', type=Path, metavar='CFG')
    converting.add_argument('weights', type=Path, metavar='WEIGHTS')
    converting.add_argument(
        '--output', type=Path, metavar='ONNX', help='file to write (default: WEIGHTS as .onnx)'
    )
    converting.add_argument(
        '--labels', type=Path, help='.names, or another text file with one class name a line'
    )


def run(args: argparse.Namespace) -> int:
    """Run the tool."""
    commands = {'list': _list, 'pull': _pull, 'convert': _convert, 'show': _show}
    command = commands[args.what]
    command(args, Console(highlight=False))
    return 0


def _list(args: argparse.Namespace, console: Console) -> None:
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    columns = ('name', 'file') if args.files else ('name', 'here', 'MB', 'licence', 'what')
    for title in columns:
        table.add_column(title, justify='right' if title == 'MB' else 'left', overflow='fold')
    for model in CATALOGUE.values():
        if args.files:
            for file in filter(None, (model.file, model.labels_file)):
                table.add_row(model.name, file.url)
            continue
        here = 'yes' if kept_file(model.name, args.folder) else ''
        size = f'{model.megabytes:.0f}' if model.megabytes else '–'
        table.add_row(model.name, here, size, model.licence, model.about)
    console.print(table)


def _pull(args: argparse.Namespace, console: Console) -> None:
    models = [published(name) for name in args.names]  # raises before anything is fetched
    for model in models:
        file = _fetched(model, args, console)
        used = f'--model {model.name}' if args.folder == models_folder() else f'--model {file}'
        console.print(f'{model.name}: {model.about}')
        console.print(f'  licence {model.licence}; {model.source}')
        if model.runs:
            _check(file)
            console.print(f'  use it with {used}, or model.path of a vehicle file')


def _fetched(model: PublishedModel, args: argparse.Namespace, console: Console) -> Path:
    from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn

    bar = Progress(
        '{task.description}', BarColumn(), DownloadColumn(), TimeRemainingColumn(),
        console=Console(stderr=True), transient=True,
    )  # fmt: skip
    with bar:
        task = bar.add_task(model.name, total=model.megabytes * 1e6 or None)
        return pull(
            model,
            args.folder,
            args.mirror,
            accept=args.accept_changed,
            progress=lambda done, size: bar.update(task, completed=done, total=size or None),
            on_event=lambda text: console.print(text),
        )


def _check(file: Path) -> None:
    """See that a pulled model can be read.

    Raises:
        ModelError: it cannot; the file stays.
    """
    from yolox_trt_ros.detect.model import load_model_spec

    load_model_spec(file)


def _convert(args: argparse.Namespace, console: Console) -> None:
    from yolox_trt_ros.core.darknet_cfg import read_cfg
    from yolox_trt_ros.detect.description import describe, sidecar_of
    from yolox_trt_ros.detect.labels import labels_of
    from yolox_trt_ros.engine.darknet_onnx import darknet_onnx
    from yolox_trt_ros.engine.darknet_weights import read_weights
    from yolox_trt_ros.engine.onnx_file import check_onnx, write_onnx

    output = args.output or args.weights.with_suffix('.onnx')
    if sidecar_of(output).is_file():
        raise ConfigError(
            f'{sidecar_of(output)} lies beside the output and would overrule it: remove it'
        )
    cfg = read_cfg(args.cfg)
    about = cfg.about()
    beside = (output.parent / 'labels.txt').is_file()
    if args.labels or beside:
        about['labels'] = list(labels_of(output, args.labels, None, cfg.yolo[0].classes))
    model = darknet_onnx(cfg, read_weights(args.weights, cfg))
    describe(model, about)
    check_onnx(model, output)
    write_onnx(model, output)
    maps = ', '.join(f'stride {y.stride}: {list(cfg.layers[y.map].shape)}' for y in cfg.yolo)
    console.print(
        f'{len(cfg.layers)} layers, input {cfg.input[2]}x{cfg.input[1]}, {about["letterbox"]}; '
        f'{about["classes"]} classes; maps of {maps}',
    )
    if 'labels' not in about:
        console.print('no class names are known: put a labels.txt beside it, or give --labels')
    console.print(f'written: {output}', markup=False)


def _show(args: argparse.Namespace, console: Console) -> None:
    from rich.table import Table

    file = find_model(args.file)
    if not file.is_file():
        if args.file in CATALOGUE:
            raise ConfigError(f'{args.file} is not here: models pull {args.file}')
        raise ConfigError(f'{one_line(args.file)}: there is no such file, nor a model of that name')
    table = Table(box=None, pad_edge=False, show_header=False)
    for key, value in _facts(file, args.labels).items():
        table.add_row(key, str(value))
    console.print(table)
    if said := caution(file):
        console.print(Text(f'{said}.', 'bold yellow'))


def _facts(file: Path, labels: Path | None) -> dict[str, Any]:
    facts: dict[str, Any] = {
        'file': file,
        'size': f'{file.stat().st_size / 1e6:.1f} MB',
        'checksum': digest_of(file),
    }
    model = CATALOGUE.get(file.parent.name)
    if model is not None:
        facts |= {'from': model.file.url, 'licence': model.licence, 'about': model.about}
    if file.suffix != '.onnx':
        return facts | {'kind': 'a checkpoint: export it to ONNX to run it'}
    from yolox_trt_ros.detect.model import load_model_spec

    try:
        spec = load_model_spec(file, labels)
    except (ModelError, YoloxTrtRosError) as error:
        return facts | {'cannot be used': error}
    image = spec.input
    further = {i.name: f'{list(i.values)} for each image, {i.dtype}' for i in image.further}
    return facts | {
        'input': f'{image.width}x{image.height}, {image.dtype}, {image.colour}',
        **further,
        'pixels': f'(pixel × {image.scale:g} − {list(image.mean)}) / {list(image.std)}',
        'batch': image.batch or 'any',
        'letterbox': f'{image.letterbox}, border {image.pad}',
        'head': f'{spec.head.family}, outputs {", ".join(spec.head.outputs)}',
        'left out': ', '.join(spec.left_out) or 'nothing',
        'classes': f'{len(spec.labels)}: {", ".join(spec.labels)}',
    }
