"""Look at labelled data: count, draw a sheet, check, compare splits, convert.

  dataset count LABELS [DIR]            pictures, classes, sizes and distances of the boxes
  dataset sheet LABELS [DIR] --output s.jpg      samples with their boxes
  dataset check LABELS [DIR] --against OTHER     broken boxes, missing pictures, pictures in both
  dataset convert LABELS [DIR] --to voc --output D      COCO, BDD100K, Pascal VOC or darknet
  dataset convert --world val --to coco --output D      the rendered world

LABELS is COCO or BDD100K JSON; a folder, a split's list or a file of Pascal VOC; a folder, a list,
a .data or a data.yaml of darknet labels. DIR is the folder of the pictures, if it is not near the
labels. The exit code of "check" is 3 if it finds anything that is left out or in two splits.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from yolox_trt_ros.cli import labelled
from yolox_trt_ros.cli.numbers import number
from yolox_trt_ros.core.errors import ConfigError
from yolox_trt_ros.core.output_files import write_whole
from yolox_trt_ros.core.printing import one_line
from yolox_trt_ros.datasets.check import check_boxes, check_pictures, check_splits
from yolox_trt_ros.datasets.convert import PLACING, convert, export_world
from yolox_trt_ros.datasets.faults import Faults
from yolox_trt_ros.datasets.formats import FORMATS, read_labelled
from yolox_trt_ros.datasets.labelled import LabelledData
from yolox_trt_ros.datasets.sheet import samples_sheet
from yolox_trt_ros.datasets.summary import summary

FOUND = 3
"""Exit code where something is wrong."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    tasks = parser.add_subparsers(dest='task', metavar='TASK', required=True)
    count = _task(tasks, 'count', 'count pictures, classes, sizes and distances')
    count.add_argument('--json', type=Path, help='write the counts to this file as well')
    sheet = _task(tasks, 'sheet', 'draw samples with their boxes')
    sheet.add_argument('--output', type=Path, required=True, metavar='FILE', help='.jpg or .png')
    sheet.add_argument(
        '--pictures', type=number(1, 400, int), default=24, help='how many (default: 24)'
    )
    sheet.add_argument('--seed', type=number(0, 1e9, int), default=0, help='other ones by others')
    check = _task(tasks, 'check', 'find what is wrong')
    check.add_argument(
        '--against',
        nargs='+',
        type=Path,
        metavar='OTHER',
        help='labels of another split (and their pictures): no picture may be in both',
    )
    check.add_argument('--json', type=Path, help='write what was found to this file as well')
    to = _task(tasks, 'convert', 'write in another format', optional=True)
    to.add_argument('--to', choices=tuple(FORMATS), required=True, help='format to write')
    to.add_argument(
        '--output', type=Path, required=True, metavar='DIR', help='folder to write into'
    )
    to.add_argument('--split', default='', help='name of what is written (default: val)')
    to.add_argument(
        '--pictures',
        choices=PLACING,
        default='link',
        help='what to do with the pictures: symbolic links, copies, nothing (default: link)',
    )
    to.add_argument('--world', choices=('train', 'val', 'test'), help='rendered worlds of a split')
    to.add_argument(
        '--worlds',
        type=number(1, 1e5, int),
        default=4,
        help='how many, 16 pictures each (default: 4)',
    )


def _task(tasks: Any, name: str, about: str, optional: bool = False) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = tasks.add_parser(name, help=about, description=about)
    parser.add_argument(
        'data',
        nargs='*' if optional else '+',
        type=Path,
        metavar='LABELS [DIR]',
        help=labelled.DATA_HELP,
    )
    labelled.add_reading_arguments(parser)
    return parser


def run(args: argparse.Namespace) -> int:
    """Run the tool and return its exit code."""
    return {'count': _count, 'sheet': _sheet, 'check': _check, 'convert': _convert}[args.task](args)


def _count(args: argparse.Namespace) -> int:
    data = labelled.data_of(args, args.data)
    counts = summary(data)
    _print_counts(data, counts)
    labelled.print_faults(data.faults)
    if args.json:
        write_whole(args.json, json.dumps(counts, indent=1) + '\n')
    return 0


def _print_counts(data: LabelledData, counts: dict[str, Any]) -> None:
    print(
        f'{one_line(data.name)} ({data.format}): {counts["pictures"]:,} pictures, '
        f'{counts["empty"]:,} of them without objects; {counts["boxes"]:,} boxes, '
        f'{counts["ignored"]:,} of them ignored'
    )
    print(f'{"class":<20}{"boxes":>9}{"pictures":>10}{"small":>8}{"medium":>8}{"large":>8}  height')
    for name, row in counts['classes'].items():
        heights = row['height_px']
        span = '–' if heights is None else f'{heights[0]:.0f} to {heights[2]:.0f}, {heights[1]:.0f}'
        print(
            f'{one_line(name)[:19]:<20}{row["boxes"]:>9,}{row["pictures"]:>10,}{row["small"]:>8,}'
            f'{row["medium"]:>8,}{row["large"]:>8,}  {span}'
        )
    print(
        "small, medium, large: COCO's, below 32² and 96² pixels; height: 5 %, 95 %, median, pixels"
    )
    if counts['distance_m']:
        low, middle, high = counts['distance_m']
        print(f'distance: {low:.0f} to {high:.0f} m, median {middle:.0f} m')


def _sheet(args: argparse.Namespace) -> int:
    from yolox_trt_ros.image_files import write_image

    data = labelled.data_of(args, args.data)
    picture, faults = samples_sheet(data, args.pictures, args.seed)
    write_image(args.output, picture)
    data.faults.join(faults)
    labelled.print_faults(data.faults)
    print(f'{args.output} written')
    return 0


def _check(args: argparse.Namespace) -> int:
    data = labelled.data_of(args, args.data)
    found = data.faults
    found.join(check_boxes(data))
    wrong, prints = check_pictures(data, labelled.tracked, bool(args.against))
    found.join(wrong)
    if args.against:
        pictures = args.against[1] if len(args.against) > 1 else None
        other = read_labelled(args.against[0], pictures)
        _, others = check_pictures(other, labelled.tracked, True)
        found.join(check_splits(others, prints))
    print(f'{one_line(data.name)} ({data.format}): {len(data.images):,} pictures checked')
    for sentence in found.sentences() or ['nothing is wrong']:
        print(sentence)
    if args.json:
        content = {'counts': found.to_json(), 'sentences': found.sentences()}
        write_whole(args.json, json.dumps(content, indent=1) + '\n')
    return FOUND if found else 0


def _convert(args: argparse.Namespace) -> int:
    if bool(args.data) == bool(args.world):
        raise ConfigError('convert: expected LABELS, or --world; one of the two')
    faults = Faults()
    if args.world:
        lost = export_world(
            args.world, args.worlds, args.to, args.output, labelled.tracked, args.split
        )
    else:
        data = labelled.data_of(args, args.data)
        faults.join(data.faults)
        lost = convert(
            data,
            args.to,
            args.output,
            split=args.split or 'val',
            placing=args.pictures,
            progress=labelled.tracked,
        )
    faults.join(lost)
    labelled.print_faults(faults)
    print(f'{args.to} labels written to {args.output}')
    return 0
