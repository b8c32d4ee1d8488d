"""Start nodes and tools many times, and send each a signal at a random moment.

Each must end within seconds, with exit code 0 or 130, without an abort or a traceback, and leave
neither a process nor shared memory. Prints a table of what was at work when the signals came.

    python test/ros/signals.py --starts 200 --seed 1
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from signal_subjects import Subject, subjects

from yolox_trt_ros.core import children
from yolox_trt_ros.ros.dds.settings import environment

INT, TERM, HUP = signal.SIGINT, signal.SIGTERM, signal.SIGHUP
ENDINGS = ((INT,), (TERM,), (HUP,), (INT, INT), (INT, TERM), (TERM, TERM), (HUP, TERM))
MOST_S = 90.0
"""What takes longer hangs, and is killed; a tool may stop several nodes and write its report."""
LATER_S = 5.0
"""Time in which Python has come to the program."""
WORD_S = 90.0
"""Longest wait for what a program writes."""
ORPHAN_S = 30.0
"""Time in which what a process started must have ended after it."""
PYTHON = 'Python starts'
"""The interpreter has not come to the program: a signal ends it as any other."""
SHARED_MEMORY = re.compile(r'(sem\.)?(fastdds|fastrtps)_.*')
BAD_WORDS = (
    'Traceback',
    'terminate called',
    'Segmentation',
    'core dumped',
    'Fatal Python',
    'the middleware did not end',
)
MARK = 'YOLOX_SIGNALS_TEST'


@dataclass(frozen=True)
class Moment:
    """When a signal is sent: so many seconds after the start, or after a word was written."""

    after_s: float
    word: str = ''

    @classmethod
    def of(cls, subject: Subject, chance: random.Random) -> Moment:
        """Return a random moment; a busy machine would else come to little but imports."""
        if subject.phases and chance.random() < 0.6:
            return cls(chance.uniform(0.0, 1.5), chance.choice(subject.phases)[1])
        return cls(chance.uniform(0.0, subject.longest_s))


@dataclass
class Outcome:
    """What became of one start."""

    subject: str
    phase: str
    after_s: float
    signals: str
    code: int | None
    took_s: float
    problems: list[str] = field(default_factory=list)
    log: str = ''


def start_and_signal(
    subject: Subject, moment: Moment, ending: Sequence[signal.Signals], gap_s: float, folder: Path
) -> Outcome:
    """Start a program, send it signals, and return what became of it."""
    mark, new = uuid.uuid4().hex, folder / uuid.uuid4().hex
    before, log = shared_memory(), folder / 'log'
    environ = {**os.environ, **environment(), MARK: mark, 'PYTHONUNBUFFERED': '1'}
    environ['XDG_CACHE_HOME'] = f'{new}.cache'  # so that the world is to be rendered
    with log.open('wb') as output:
        process = children.start(
            [sys.executable, '-m', *(word.format(new=new) for word in subject.command)],
            env=environ, cwd=folder, stdout=output, stderr=subprocess.STDOUT,
            start_new_session=True,
        )  # fmt: skip
    try:
        after_s = wait(process, moment, log)
        phase = phase_of(subject, log.read_text(errors='replace'), process)
        begun = time.monotonic()
        for number in ending:
            process.send_signal(number)
            time.sleep(gap_s)
        code: int | None
        if phase == PYTHON:  # which may swallow it
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(LATER_S)
            process.send_signal(TERM)
        try:
            code = process.wait(MOST_S)
        except subprocess.TimeoutExpired:
            code = None
        took_s = time.monotonic() - begun
        names = '+'.join(number.name.removeprefix('SIG') for number in ending)
        message = log.read_text(errors='replace')
        outcome = Outcome(subject.name, phase, after_s, names, code, took_s, log=message)
        outcome.problems += wrong_code(outcome) + wrong_words(outcome)
        outcome.problems += [f'orphan: {name}' for name in orphans(mark)]
        outcome.problems += [f'left {name}' for name in sorted(shared_memory() - before)]
        outcome.problems += wrong_bags(new)
        return outcome
    finally:
        process.kill()
        for pid in marked(mark):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def wait(process: subprocess.Popen[bytes], moment: Moment, log: Path) -> float:
    """Wait for a moment, or for the end of the process, and return how long that took."""
    begun = time.monotonic()
    while moment.word and time.monotonic() < begun + WORD_S and process.poll() is None:
        if moment.word in log.read_text(errors='replace'):
            break
        time.sleep(0.02)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(moment.after_s)
    return time.monotonic() - begun


def phase_of(subject: Subject, message: str, process: subprocess.Popen[bytes]) -> str:
    """Return what a program is doing now."""
    if process.poll() is not None:
        return 'ended before'
    with contextlib.suppress(OSError):
        status = Path(f'/proc/{process.pid}/status').read_text()
        caught = int(re.findall(r'SigCgt:\s*(\w+)', status)[0], 16)
        if not caught >> (TERM - 1) & 1:
            return PYTHON
    for phase, word in subject.phases:
        if word in message:
            return phase
    # rclpy opens its log file when it is initialised; the middleware's library is there before.
    with contextlib.suppress(OSError):
        maps = Path(f'/proc/{process.pid}/maps').read_text()
        held = [os.readlink(fd) for fd in Path(f'/proc/{process.pid}/fd').iterdir()]
        if any('/dev/shm/' in name for name in held):
            return 'node being made'
        if 'librmw_fastrtps' in maps:
            return 'middleware loaded'
    return 'importing'


def wrong_code(outcome: Outcome) -> list[str]:
    """Return what is wrong with how a process ended."""
    if outcome.code in (0, 130) or outcome.phase == PYTHON:
        return []
    if outcome.phase == 'ended before':
        return [f'ended by itself with {outcome.code}']
    if outcome.code is None:
        return [f'did not end within {MOST_S:g} s']
    return [f'exit code {outcome.code}']


def wrong_words(outcome: Outcome) -> list[str]:
    """Return the signs of a crash in what a process wrote."""
    if outcome.phase == PYTHON:
        return []
    return [f'it says "{word}"' for word in BAD_WORDS if word in outcome.log]


def wrong_bags(folder: Path) -> list[str]:
    """Return what is wrong with the bag that a recorder wrote, if it came to that."""
    from yolox_trt_ros.bags.reader import Bag
    from yolox_trt_ros.core.errors import BagError

    if not list(folder.glob('*.mcap')):
        return []
    try:
        with Bag(folder) as bag:
            list(bag.messages(list(bag.topics)))
    except BagError as error:
        return [f'the bag cannot be read: {error}']
    return [] if (folder / 'metadata.yaml').stat().st_size else ['metadata.yaml is empty']


def shared_memory() -> set[str]:
    """Return the names of the middleware's shared memory."""
    return {name for name in os.listdir('/dev/shm') if SHARED_MEMORY.fullmatch(name)}


def marked(mark: str) -> list[int]:
    """Return the processes that were started, directly or not, with a mark in the environment."""
    found = []
    for path in Path('/proc').iterdir():
        with contextlib.suppress(OSError):
            if path.name.isdigit() and f'{MARK}={mark}'.encode() in (path / 'environ').read_bytes():
                found.append(int(path.name))
    return found


def orphans(mark: str) -> list[str]:
    """Return the command lines of processes that outlive the one that started them."""
    end = time.monotonic() + ORPHAN_S
    while (left := marked(mark)) and time.monotonic() < end:
        time.sleep(0.1)
    names = []
    for pid in left:
        with contextlib.suppress(OSError):
            words = Path(f'/proc/{pid}/cmdline').read_bytes().split(b'\0')
            names.append(b' '.join(words[:4]).decode(errors='replace'))
    return names


def attack(chosen: Sequence[Subject], chance: random.Random, folder: Path) -> Outcome:
    """Start one of the subjects, signal it at a random moment, and return what became of it."""
    (subject,) = chance.choices(chosen, [s.share for s in chosen])
    moment = Moment.of(subject, chance)
    ending, gap_s = chance.choice(ENDINGS), chance.uniform(0.0, 0.4)
    return start_and_signal(subject, moment, ending, gap_s, folder)


def table(outcomes: Sequence[Outcome]) -> list[str]:
    """Return lines that sum up what came out, by subject and by what it was doing."""
    rows: dict[tuple[str, str], list[Outcome]] = defaultdict(list)
    for outcome in outcomes:
        rows[outcome.subject, outcome.phase].append(outcome)
    lines = [f'{"subject":28} {"was":24} starts  exit codes        longest  problems']
    for (subject, phase), found in sorted(rows.items()):
        codes = ' '.join(sorted({str(o.code) for o in found}))
        longest = max(o.took_s for o in found)
        problems = sum(bool(o.problems) for o in found)
        lines.append(
            f'{subject:28} {phase:24} {len(found):6}  {codes:16} {longest:6.1f} s  {problems:8}'
        )
    wrong = sum(bool(o.problems) for o in outcomes)
    lines.append(f'{len(outcomes)} starts, {wrong} with problems')
    return lines


def describe(outcome: Outcome) -> None:
    """Print one start."""
    print(
        f'{outcome.subject}: {outcome.signals} after {outcome.after_s:.2f} s ({outcome.phase}): '
        f'exit code {outcome.code} after {outcome.took_s:.2f} s'
        + ''.join(f'; {problem}' for problem in outcome.problems),
        flush=True,
    )
    if outcome.problems:
        print(''.join(f'   | {line}\n' for line in outcome.log.splitlines()[-25:]), flush=True)


def main() -> int:
    """Run so many starts; return the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or '').partition('\n')[0])
    parser.add_argument('--starts', type=int, default=200)
    parser.add_argument('--seed', type=int, default=1)
    arguments = parser.parse_args()
    os.environ.setdefault('ROS_DOMAIN_ID', str(1 + os.getpid() % 100))
    os.environ.setdefault('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')
    chance, outcomes = random.Random(arguments.seed), []
    with tempfile.TemporaryDirectory() as folder:
        chosen = subjects(Path(folder))
        for _ in range(arguments.starts):
            outcomes.append(attack(chosen, chance, Path(folder)))
            describe(outcomes[-1])
    print('\n'.join(table(outcomes)))
    return any(outcome.problems for outcome in outcomes)


if __name__ == '__main__':
    sys.exit(main())
