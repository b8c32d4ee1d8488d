#!/usr/bin/env python3
"""Hostile and damaged input for every edge: counts inputs, crashes, hangs and tracebacks.

Each ``fuzz_*.py`` beside this file lists its targets. A case is made from a seed and its number
alone, so that ``--only NUMBER`` repeats it. Cases run in processes with limits on time and memory;
one that dies or hangs is counted, and its process is replaced. Ends with status 1 after findings.
"""

from __future__ import annotations

import argparse
import faulthandler
import importlib.util
import json
import mmap
import os
import random
import resource
import signal
import struct
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
CURRENT = struct.Struct('=qdqq')
"""What a process shows of itself: the case it runs, since when, cases done, tracebacks told."""
IDLE = -1
KEPT = 20
"""Findings of a target that are written down; all of them are counted."""
POLL_S = 0.02


@dataclass(frozen=True)
class Target:
    """One edge of the package.

    Attributes:
        name: unique.
        make: returns the input of a case from a source of randomness; the same for the same seed.
        feed: gives an input to the package; what it raises beyond ``errors`` is a finding.
        errors: what the package raises on purpose.
        seconds: longest time of one case; more is a hang.
        memory_mib: address space that a case may add to the process.
        setup: runs once in each process, before its first case.
        share: of the inputs that a run is asked for; less for slow cases.
    """

    name: str
    make: Callable[[random.Random], Any]
    feed: Callable[[Any], object]
    errors: tuple[type[BaseException], ...]
    seconds: float = 20.0
    memory_mib: int = 4096
    setup: Callable[[], object] | None = None
    share: float = 1.0


@dataclass(frozen=True)
class Program:
    """An edge that is written in C++, with a program of its own that damages its input.

    Attributes:
        name: unique.
        command: returns the command line for so many inputs and a seed; ends with 0 if all is well.
        share: of the inputs that a run is asked for.
    """

    name: str
    command: Callable[[int, int], list[str]]
    share: float = 1.0


@dataclass
class Result:
    """What became of a target's inputs."""

    target: str
    inputs: int = 0
    crashes: int = 0
    hangs: int = 0
    tracebacks: int = 0
    seconds: float = 0.0
    findings: list[dict[str, Any]] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        """Return whether nothing was found."""
        return not (self.crashes or self.hangs or self.tracebacks)

    def row(self) -> str:
        """Return a line of the table."""
        numbers = (self.inputs, self.crashes, self.hangs, self.tracebacks)
        return (
            f'{self.target:<24}' + ''.join(f'{n:>12}' for n in numbers) + f'{self.seconds:>10.1f}'
        )


HEADER = (
    f'{"target":<24}{"inputs":>12}{"crashes":>12}{"hangs":>12}{"tracebacks":>12}{"seconds":>10}'
)


def case(target: Target, seed: int, number: int) -> Any:
    """Return the input of a case."""
    return target.make(random.Random(f'{seed} {target.name} {number}'))


class _Process:
    """A forked process that runs every ``step``-th case from ``first`` on."""

    def __init__(
        self, target: Target, seed: int, first: int, step: int, stop: int, again: bool = False
    ) -> None:
        self.target, self.first, self.step, self.stop = target, first, step, stop
        self.again = again
        self._stacks = tempfile.TemporaryFile('w+')  # noqa: SIM115
        self._shown = mmap.mmap(-1, CURRENT.size)
        self._show(IDLE, time.monotonic(), 0, 0)
        self._read, write = os.pipe()
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if not self.pid:
            os.close(self._read)
            status = 1
            try:
                self._run(seed, range(first, stop, step), os.fdopen(write, 'w'))
                status = 0
            except BaseException:  # also of make(): a broken target, not a finding
                traceback.print_exc()
            finally:
                sys.stderr.flush()
                os._exit(status)
        os.close(write)
        os.set_blocking(self._read, False)
        self._rest = b''

    def _run(self, seed: int, numbers: Iterable[int], message: Any) -> None:
        target = self.target
        faulthandler.register(signal.SIGUSR1, self._stacks)
        if target.setup:
            target.setup()
        pages = int(Path('/proc/self/statm').read_text().split()[0])
        most = pages * resource.getpagesize() + (target.memory_mib << 20)
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        found = 0
        for done, number in enumerate(numbers):
            made = case(target, seed, number)
            self._show(number, time.monotonic(), done, found)
            try:
                target.feed(made)
            except target.errors:
                pass
            except BaseException as error:
                found += 1
                if found <= KEPT:
                    what = {'case': number, 'kind': 'traceback', 'error': repr(error)[:500]}
                    what['traceback'] = traceback.format_exc()[-3000:]
                    message.write(json.dumps(what) + '\n')
                    message.flush()
            self._show(IDLE, time.monotonic(), done + 1, found)

    def shown(self) -> tuple[int, float, int, int]:
        """Return the case that runs (IDLE between cases), since when, cases done, tracebacks."""
        while True:  # it may be written just now
            raw = self._shown[:]
            if raw == self._shown[:]:
                return CURRENT.unpack(raw)

    def _show(self, number: int, since: float, done: int, found: int) -> None:
        # pack_into would write zeros first, which look like a case that hangs.
        self._shown[:] = CURRENT.pack(number, since, done, found)

    def findings(self) -> list[dict[str, Any]]:
        """Return what was reported since the last call."""
        while True:
            try:
                part = os.read(self._read, 1 << 16)
            except BlockingIOError:
                break
            if not part:
                break
            self._rest += part
        *lines, self._rest = self._rest.split(b'\n')
        return [json.loads(line) for line in lines]

    def ended(self) -> int | None:
        """Return the wait status of a process that has ended."""
        pid, status = os.waitpid(self.pid, os.WNOHANG)
        return status if pid else None

    def stacks(self) -> str:
        """Return where the process is."""
        os.kill(self.pid, signal.SIGUSR1)
        time.sleep(0.3)
        self._stacks.seek(0)
        return self._stacks.read()

    def kill(self) -> None:
        """End the process."""
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)

    def close(self) -> None:
        """Close what was shared."""
        os.close(self._read)
        self._shown.close()
        self._stacks.close()


def run(
    target: Target,
    inputs: int,
    seed: int = 1,
    seconds: float = float('inf'),
    jobs: int = 1,
    first: int = 0,
) -> Result:
    """Run a target's cases.

    Args:
        target: what to run.
        inputs: how many cases.
        seed: of all cases.
        seconds: no case begins later than this.
        jobs: processes.
        first: number of the first case.

    Raises:
        RuntimeError: the target itself is broken: its setup or an input could not be made.
    """
    result = Result(target.name)
    started = time.monotonic()
    stop = first + inputs
    running = [_Process(target, seed, first + j, jobs, stop) for j in range(min(jobs, inputs))]
    try:
        while running:
            time.sleep(POLL_S)
            for process in list(running):
                number, since, _, _ = process.shown()
                status = process.ended()
                late = time.monotonic() - since > target.seconds
                over = time.monotonic() - started > seconds and (number == IDLE or late)
                hung = late and number != IDLE
                if status is None and not over and not hung:
                    continue
                running.remove(process)
                again = _finish(process, result, status, hung, over)
                if again is not None and again < stop:
                    # What took too long may have had no time: it is tried once more.
                    repeated = again == number and not over
                    running.append(_Process(target, seed, again, jobs, stop, repeated))
    finally:
        for process in running:
            process.kill()
            process.close()
    result.seconds = round(time.monotonic() - started, 2)
    return result


def run_program(program: Program, inputs: int, seed: int = 1) -> Result:
    """Run a program; it stops at its first finding."""
    started = time.monotonic()
    done = subprocess.run(program.command(inputs, seed), capture_output=True, text=True)
    result = Result(program.name, inputs, crashes=int(done.returncode != 0))
    if done.returncode:
        result.findings = [{'case': 0, 'kind': 'crash', 'error': done.stderr[-3000:]}]
    result.seconds = round(time.monotonic() - started, 2)
    return result


def _finish(
    process: _Process, result: Result, status: int | None, hung: bool, over: bool
) -> int | None:
    """Count what a process did; return the case to go on with, or None if there is none."""
    stacks = process.stacks() if status is None and hung else ''
    if status is None:
        process.kill()
    number, _, done, found = process.shown()
    result.inputs += done
    result.tracebacks += found
    result.findings += process.findings()[: KEPT - len(result.findings)]
    process.close()
    if number == IDLE or (status is None and not hung):  # which may have begun the next case
        if status:
            raise RuntimeError(f'{result.target}: the target is broken (wait status {status})')
        # One that came to its end just when it was given up goes on behind it.
        return None if over or status is not None else process.first + done * process.step
    kind = 'hang' if status is None else 'crash'
    if kind == 'hang' and not (process.again and number == process.first) and not over:
        return number
    result.inputs += 1
    result.hangs += kind == 'hang'
    result.crashes += kind == 'crash'
    if len(result.findings) < KEPT:
        result.findings.append({'case': number, 'kind': kind, 'status': status, 'stacks': stacks})
    return None if over else number + process.step


def targets(folder: Path = HERE) -> dict[str, Target | Program]:
    """Return the targets of all ``fuzz_*.py`` in a folder, by name."""
    found: dict[str, Target | Program] = {}
    sys.path[:0] = [str(folder)]
    for file in sorted(folder.glob('fuzz_*.py')):
        spec = importlib.util.spec_from_file_location(file.stem, file)
        assert spec and spec.loader
        module = importlib.util.module_from_spec(spec)
        sys.modules[file.stem] = module
        spec.loader.exec_module(module)
        found |= {target.name: target for target in module.TARGETS}
    return found


def arguments(known: Iterable[str]) -> argparse.Namespace:
    """Return the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or '').partition('\n')[0])
    parser.add_argument('targets', nargs='*', help=f'only these of {", ".join(known)}')
    parser.add_argument(
        '--inputs', type=int, default=10_000, help='for each target, of slow ones a share'
    )
    parser.add_argument('--seed', type=int, default=1, help='of all cases')
    parser.add_argument('--seconds', type=float, default=float('inf'), help='for each target')
    parser.add_argument('--jobs', type=int, default=os.cpu_count() or 1, help='processes')
    parser.add_argument('--only', type=int, help='repeat the case of this number, in this process')
    parser.add_argument('--json', type=Path, help='file to write all results and findings to')
    return parser.parse_args()


def repeat(target: Target | Program, seed: int, number: int) -> None:
    """Run one case in this process, without limits."""
    if isinstance(target, Target):
        if target.setup:
            target.setup()
        target.feed(case(target, seed, number))


def main() -> int:
    """Run the targets; return the exit status."""
    known = targets()
    args = arguments(known)
    if unknown := [name for name in args.targets if name not in known]:
        print(f'expected targets of {", ".join(known)}; got {", ".join(unknown)}', file=sys.stderr)
        return 2
    chosen = [known[name] for name in args.targets or known]
    if args.only is not None:
        for target in chosen:
            repeat(target, args.seed, args.only)
        return 0
    results = []
    print(HEADER)
    for target in chosen:
        inputs = max(1, round(args.inputs * target.share))
        if isinstance(target, Program):
            results.append(run_program(target, inputs, args.seed))
        else:
            results.append(run(target, inputs, args.seed, args.seconds, args.jobs))
        print(results[-1].row(), flush=True)
        for finding in results[-1].findings:
            print(f'  case {finding["case"]}: {finding.get("error", finding["kind"])}')
    if args.json:
        args.json.write_text(json.dumps([asdict(result) for result in results], indent=1) + '\n')
    return 0 if all(result.clean for result in results) else 1


if __name__ == '__main__':
    # Targets import this file by its name, and it must be this very module.
    sys.modules['harness'] = sys.modules['__main__']
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
