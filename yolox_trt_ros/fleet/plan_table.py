"""Show a plan: what was found, what will run, what cannot, how long it takes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import takewhile

from rich.table import Table

from yolox_trt_ros.bags.limits import size_text
from yolox_trt_ros.cli.console import Console
from yolox_trt_ros.core.printing import one_line, shown
from yolox_trt_ros.fleet.index import IndexedBag
from yolox_trt_ros.fleet.plan import FleetPlan, FleetSegment

MOST_ROWS = 20
"""Bags that are shown one by one; the table ``bags`` has all."""
LONGEST = 160
"""Characters of a remark."""


def print_found(plan: FleetPlan, console: Console) -> None:
    """Show the bags: those that cannot run first, for they ask for a decision."""
    unreadable = plan.unreadable
    for bag in unreadable:
        console.print(
            f'cannot run: {one_line(bag.found.uri)}: {one_line(bag.problem)}',
            highlight=False,
            soft_wrap=True,
        )
    runs = [bag for bag in plan.bags if not bag.problem]
    segments = Counter(segment.bag for segment in plan.segments)
    table = Table('stored as', 'length', 'cameras', 'images', 'segments')
    table.add_column('bag and remarks', overflow='fold')
    above = _above([bag.found.uri for bag in plan.bags])
    for bag in runs[:MOST_ROWS]:
        table.add_row(
            f'{bag.storage}, {size_text(bag.found.size)}',
            f'{bag.seconds:.1f} s',
            str(len(bag.cameras)),
            f'{bag.images:,}',
            str(segments[bag.found.uri]),
            '\n'.join([one_line(bag.found.uri[len(above) :]), *_remarks(bag)]),
        )
    if len(runs) > MOST_ROWS:
        table.add_row(*[''] * 5, f'… and {len(runs) - MOST_ROWS} more bags')
    if runs:
        console.print(table)
    console.print(totals(plan), highlight=False)


def _above(uris: Sequence[str]) -> str:
    """Return the folder that all bags are in, which need not be said with each."""
    first, last = min(uris).split('/'), max(uris).split('/')
    same = takewhile(lambda pair: pair[0] == pair[1], zip(first[:-1], last[:-1], strict=False))
    return ''.join(f'{part}/' for part, _ in same)


def _remarks(bag: IndexedBag) -> list[str]:
    said = [f'without {", ".join(bag.missing)}'] if bag.missing else []
    said += [shown(warning, LONGEST).strip('"') for warning in bag.warnings[:1]]
    if len(bag.warnings) > 1:
        said.append(f'{len(bag.warnings) - 1} more warnings, in the table "bags"')
    return said


def totals(plan: FleetPlan) -> str:
    """Return what was found, in one sentence."""
    runs = [bag for bag in plan.bags if not bag.problem]
    hours = sum(bag.seconds for bag in runs) / 3600
    size = size_text(sum(bag.found.size for bag in runs))
    words = (
        f'{len(runs)} bags ({hours:.2f} h, {size}), {plan.images:,} images in '
        f'{len(plan.segments)} segments'
    )
    return f'{words}; {len(plan.unreadable)} bags cannot run' if plan.unreadable else words


def estimate(segments: Sequence[FleetSegment], rate: float, workers: int) -> str:
    """Return how long segments take.

    Args:
        segments: that are to run.
        rate: images a second of one worker, as it was measured.
        workers: that run them.
    """
    images = sum(segment.images for segment in segments)
    longest = max((segment.images for segment in segments), default=0)
    seconds = max(images / workers, longest) / rate
    return (
        f'{images:,} images at {rate:.1f} images/s a worker, {workers} '
        f'worker{"s" * (workers > 1)}: {duration(seconds)}'
    )


def duration(seconds: float) -> str:
    """Return a time for people."""
    if seconds < 90:
        return f'{seconds:.0f} s'
    if seconds < 5400:
        return f'{seconds / 60:.0f} min'
    return f'{seconds / 3600:.1f} h'
