"""Play a rosbag2 through real topics: at its own pace, or in step with the detector.

Messages go out as they were recorded, byte for byte, from sqlite3 and mcap bags, plain or zstd.
Without --vehicle everything is played, but for recorded results where a live detector publishes.
With --vehicle only the cameras of that vehicle are played, and the player waits until the detector
listens to all of them. With --lockstep the next image of a camera goes out when the detector has
answered the last one, so that a slow machine processes every frame; start the detector with
"-p lockstep:=true". A Ctrl-C ends the replay.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.progress import (
    BarColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
)

from yolox_trt_ros.bags.reader import Bag
from yolox_trt_ros.bags.selection import remappings
from yolox_trt_ros.cli.bag_limits import add_bag_limits
from yolox_trt_ros.cli.console import Console
from yolox_trt_ros.cli.numbers import number
from yolox_trt_ros.core.errors import ConfigError
from yolox_trt_ros.core.interruption import INTERRUPTED
from yolox_trt_ros.core.output_files import write_whole
from yolox_trt_ros.ros.dds import settings
from yolox_trt_ros.ros.process import DDS_HELP, keep_large_buffers
from yolox_trt_ros.ros.replay.lockstep import Outcome
from yolox_trt_ros.ros.replay.options import ReplayOptions
from yolox_trt_ros.ros.replay.player import Replay
from yolox_trt_ros.ros.watcher import Watcher
from yolox_trt_ros.vehicle_files import load_vehicle


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument('bag', type=Path, help='folder of the bag, or its .mcap or .db3 file')
    parser.add_argument('--vehicle', default='', help='vehicle file or packaged name')
    parser.add_argument(
        '--lockstep',
        action='store_true',
        help='wait for the detector’s answer to every frame; needs --vehicle',
    )
    parser.add_argument(
        '--detector', default='/detector', help='name of the detector node (default: /detector)'
    )
    parser.add_argument(
        '--rate', type=number(1e-6, 1e9), default=1.0, help='times the recorded speed (default: 1)'
    )
    parser.add_argument('--loop', action='store_true', help='play again and again, until Ctrl-C')
    parser.add_argument(
        '--start',
        type=number(0),
        default=0.0,
        metavar='S',
        help='leave out the first S seconds',
    )
    parser.add_argument(
        '--duration',
        type=number(0, math.inf),
        default=float('inf'),
        metavar='S',
        help='play S seconds',
    )
    parser.add_argument(
        '--topics', nargs='+', default=[], metavar='T', help='play only these names or patterns'
    )
    parser.add_argument(
        '--remap', nargs='+', default=[], metavar='A:=B', help='publish topic A as B'
    )
    parser.add_argument(
        '--clock', action='store_true', help='publish the time of the recording on /clock'
    )
    parser.add_argument(
        '--reliability',
        choices=('best_effort', 'reliable'),
        default='',
        help='offer this reliability in place of the recorded one',
    )
    parser.add_argument(
        '--timeout',
        type=number(0),
        default=60.0,
        metavar='S',
        help='wait S seconds for the detector (default: 60)',
    )
    parser.add_argument('--dds', default='auto', help=DDS_HELP)
    parser.add_argument(
        '--json', type=Path, help='write what was sent, received and answered to this file as well'
    )
    add_bag_limits(parser)


def run(args: argparse.Namespace) -> int:
    """Run the tool; 1 if an image of a lockstep replay was not answered, or one got lost.

    130 if that is because it was interrupted.
    """
    options = options_of(args)
    chosen = settings.apply(args.dds)
    config = load_vehicle(args.vehicle) if args.vehicle else None
    console = Console(stderr=True)
    keep_large_buffers()
    # The thread that reads ahead holds the interpreter only briefly; sending must not wait for it.
    sys.setswitchinterval(0.0005)
    with Bag(args.bag) as bag, Watcher('replay') as watcher:
        replay = Replay(watcher.node, bag, options, config, warn=console.print)
        watcher.executor.wake()  # it waits without the new subscriptions otherwise
        console.print(f'{args.bag}: {bag.storage}, {(bag.end_ns - bag.start_ns) / 1e9:.1f} s')
        console.print(chosen, highlight=False)
        interrupted = False
        try:
            _play(replay, console)
        except KeyboardInterrupt:
            interrupted = True
            console.print('interrupted')
        lost = replay.lost()
        _report(replay, console)
        _report_lost(lost, options.detector, console)
    outcomes = replay.lockstep.outcomes if replay.lockstep else {}
    if args.json:
        write_whole(args.json, json.dumps(account_of(replay, bag.warnings), indent=1) + '\n')
    if not lost and all(outcome.complete for outcome in outcomes.values()):
        return 0
    return INTERRUPTED if interrupted else 1


def account_of(replay: Replay, warnings: Sequence[str]) -> dict[str, Any]:
    """Return what was sent and what became of it, and what is lost of the bag, as plain data."""
    sent, lockstep = replay.sent, replay.lockstep
    cameras: dict[str, Any] = {}
    for played in replay.played:
        if played.camera:
            account: dict[str, Any] = {'sent': sent.messages[played.name]}
            if lockstep:
                account |= asdict(lockstep.outcomes[played.camera])
            else:
                account['received'] = replay.arrivals.received(played.camera)
            cameras[played.camera] = account
    return {
        'seconds': round(sent.elapsed_s, 3),
        'topics': dict(sent.messages),
        'unheard': dict(+sent.unheard),
        'left_out': dict(sent.left_out),
        'cameras': cameras,
        'bag': list(warnings),
    }


def options_of(args: argparse.Namespace) -> ReplayOptions:
    """Return the checked command line.

    Raises:
        ConfigError: a value is out of range, or options contradict each other.
    """
    for name, low in (('rate', 1e-3), ('start', 0.0), ('duration', 1e-9), ('timeout', 1e-9)):
        if not getattr(args, name) >= low:
            raise ConfigError(f'--{name}: expected {low:g} or more, got {getattr(args, name):g}')
    if args.lockstep and not args.vehicle:
        raise ConfigError('--lockstep: needs --vehicle, which says what the cameras are')
    if args.lockstep and args.rate != 1.0:
        raise ConfigError('--rate: lockstep goes as fast as the detector answers; leave it out')
    if args.lockstep and args.reliability == 'best_effort':
        raise ConfigError('--reliability: lockstep loses no image, it is reliable; leave it out')
    return ReplayOptions(
        rate=args.rate,
        loop=args.loop,
        start_s=args.start,
        duration_s=args.duration,
        topics=tuple(args.topics),
        remap=remappings(args.remap),
        clock=args.clock,
        reliability=args.reliability,
        lockstep=args.lockstep,
        timeout_s=args.timeout,
        detector='/' + args.detector.strip('/'),
    )


def _play(replay: Replay, console: Console) -> None:
    first_ns, stop_ns = replay.span_ns()
    columns = (
        TextColumn('{task.description}'),
        BarColumn(),
        TextColumn('{task.completed:.1f} of {task.total:.1f} s, {task.fields[messages]} messages'),
        TimeElapsedColumn(),
    )
    with Progress(
        *columns, console=console, transient=True, disable=not sys.stderr.isatty()
    ) as bar:
        span_s = (stop_ns - first_ns) / 1e9
        task = bar.add_task('waiting for listeners', total=span_s, messages=0)
        for count, message in enumerate(replay.play(), 1):
            at_s = (message.t_ns - first_ns) / 1e9
            bar.update(task, description='playing', completed=at_s, messages=count)


def _report(replay: Replay, console: Console) -> None:
    sent = replay.sent
    total = sum(sent.messages.values())
    topics = f'{len(sent.messages)} topic{"s" * (len(sent.messages) != 1)}'
    console.print(f'{total} messages of {topics} in {sent.elapsed_s:.1f} s')
    if unheard := [name for name in sent.messages if sent.unheard[name]]:
        some = ', '.join(f'{sent.unheard[n]} of {sent.messages[n]} of {n}' for n in unheard)
        console.print(f'nobody listened to {some}')
    if sent.left_out:
        some = ', '.join(f'{n} of {name}' for name, n in sent.left_out.items())
        console.print(f'not played, since somebody else publishes there: {some}')
    if replay.lockstep:
        for camera, outcome in replay.lockstep.outcomes.items():
            console.print(f'{camera}: {outcome_text(outcome)}')
    elif sent.late:
        console.print(f'{sent.late} were late, the worst one by {sent.worst_late_s * 1e3:.0f} ms')


def _report_lost(lost: Mapping[str, tuple[int, int]], detector: str, console: Console) -> None:
    for camera, (sent, received) in lost.items():
        console.print(
            f'{camera}: {sent - received} of {sent} images did not reach {detector}: both sides '
            'need the DDS settings of this package, and room in /dev/shm (docs/dds.md); '
            '--reliability reliable loses none where the detector asks for it, --lockstep '
            'sends the next one only when the last one arrived',
            style='bold red',
            highlight=False,
        )


def outcome_text(outcome: Outcome) -> str:
    """Return what became of a camera's images, in words."""
    parts = [f'{outcome.answered} of {outcome.sent} images answered']
    parts += [f'{n} dropped ({reason})' for reason, n in outcome.dropped.items()]
    for name in ('unseen', 'lost', 'resent'):
        if count := getattr(outcome, name):
            parts.append(f'{count} {name}')
    return ', '.join(parts)
