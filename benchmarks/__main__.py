"""The command line of the benchmarks: ``python -m benchmarks [NAME] …``, or ``make bench``."""

from __future__ import annotations

import argparse
import sys

from benchmarks import command
from yolox_trt_ros.__main__ import guarded, program


def main(argv: list[str] | None = None) -> int:
    """Run one benchmark, or all of them, and return the exit code of a tool."""
    parser = argparse.ArgumentParser(
        prog='benchmarks',
        description=command.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_arguments(parser)
    args = parser.parse_args(sys.argv[1:] if argv is None else argv)
    return guarded('benchmarks', lambda: command.run(args))


if __name__ == '__main__':
    program(main=main)
