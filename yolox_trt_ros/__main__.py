"""The command line: ``python -m yolox_trt_ros TOOL …``."""

from __future__ import annotations

if __name__ == '__main__':
    from yolox_trt_ros.core import interruption

    interruption.begin(130)

import argparse
import importlib
import sys
from collections.abc import Callable
from types import ModuleType
from typing import NoReturn

from yolox_trt_ros import __version__, tools
from yolox_trt_ros.cli.standard_output import StandardOutput
from yolox_trt_ros.core.errors import MissingDependencyError, YoloxTrtRosError, did_you_mean
from yolox_trt_ros.core.interruption import (
    INTERRUPTED,
    begin,
    leave,
    leave_at_once,
    raise_on_signals,
)
from yolox_trt_ros.core.printing import printable, shown

WRONG_USAGE = 2
Main = Callable[[list[str] | None], int]

WHERE_FROM = {
    'rclpy': 'source a ROS 2 installation',
    'vision_msgs': 'apt install ros-<distro>-vision-msgs',
    'yolox_trt_ros.msg': 'build this package with colcon, and source its setup file',
    'cv2': 'pip install opencv-python-headless',
    'rich': 'pip install rich',
}
"""How to get what a tool cannot even be listed without; ``make setup`` brings all of it."""


def _parse(names: list[str], wanted: str | None, argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog='yolox_trt_ros', description='YOLOX detection for vehicles with many cameras.'
    )
    parser.add_argument('--version', action='version', version=__version__)
    chosen = parser
    subparsers = parser.add_subparsers(dest='tool', metavar='TOOL', required=True)
    for name in names:
        # A tool that is asked for is the only one imported, so that each needs only its own
        # packages; the list needs every tool's first line, which is read without importing it.
        if name == wanted:
            chosen = subparsers.add_parser(
                name,
                help=tools.summary(name),
                description=tools.description(name),
                formatter_class=argparse.RawDescriptionHelpFormatter,
            )
            _add_options(chosen, name, for_help=not {'-h', '--help'}.isdisjoint(argv))
        else:
            subparsers.add_parser(name, help=tools.summary(name))
    args, unknown = parser.parse_known_args(argv)
    if unknown:
        name = unknown[0].partition('=')[0]
        near = did_you_mean(name, chosen._option_string_actions) if name[:2] == '--' else ''
        chosen.error(f'there is no argument {shown(unknown[0])}{near}')
    return args


def _add_options(parser: argparse.ArgumentParser, name: str, for_help: bool) -> None:
    """Let a tool declare its options; where its packages are missing, its help says so."""
    try:
        module = _import(name)
    except MissingDependencyError as error:
        if not for_help:
            raise
        parser.epilog = f'To run it, and to see its options: {error}'
        return
    module.add_arguments(parser)
    parser.set_defaults(run=module.run)


def _import(name: str) -> ModuleType:
    try:
        return importlib.import_module(f'{tools.__name__}.{name}')
    except ModuleNotFoundError as error:
        if error.name not in WHERE_FROM:
            raise
        raise MissingDependencyError(
            f'it needs {error.name}: {WHERE_FROM[error.name]}, or make setup'
        ) from error


def main(argv: list[str] | None = None) -> int:
    """Run one tool and return its exit code: 0 done, 1 failed, 2 wrong usage, 130 interrupted."""
    argv = sys.argv[1:] if argv is None else argv
    names = tools.names()
    wanted = next((a for a in argv if not a.startswith('-')), None)
    if wanted is not None and wanted not in names:
        near = did_you_mean(wanted, names)
        print(f'yolox_trt_ros: there is no tool {shown(wanted)}{near}', file=sys.stderr)
        return WRONG_USAGE
    return guarded(f'yolox_trt_ros {wanted}', lambda: _run(names, wanted, argv))


def _run(names: list[str], wanted: str | None, argv: list[str]) -> int:
    args = _parse(names, wanted, argv)
    return int(args.run(args))


def guarded(name: str, work: Callable[[], int]) -> int:
    """Return ``work()``'s exit code; report what users can mend in one line, without traceback."""
    try:
        # A tool that is asked to end stops the processes that it started, as it does on Ctrl-C.
        with raise_on_signals():
            return work()
    except (YoloxTrtRosError, OSError) as error:
        print(printable(f'{name}: {error}'), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print('interrupted', file=sys.stderr)
        return INTERRUPTED


def program(argv: list[str] | None = None, main: Main = main) -> NoReturn:
    """Be the process that runs one tool: end on signals, and with the one that started it."""
    begin(INTERRUPTED)
    output = StandardOutput()
    try:
        code = main(argv)
    except SystemExit as ended:  # argparse's own, after --help or a wrong option
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    code = output.code(code)
    if 'rclpy' in sys.modules:
        from yolox_trt_ros.ros.dds import segments

        if kept := segments.remove_own():
            message = f'the middleware did not end: removed {", ".join(kept)} from shared memory'
            print(f'yolox_trt_ros: {message}', file=sys.stderr)
            leave_at_once(code)
        segments.reclaim()
    leave(code)


if __name__ == '__main__':
    program()
