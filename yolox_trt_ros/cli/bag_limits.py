"""Options that raise the limits on what reading a bag may take."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from typing import Any

from yolox_trt_ros.bags.limits import DISK, MEMORY, TIME

LIMITS = {
    '--bag-memory': (MEMORY, 'MIB', 'largest unpacked chunk or message (default: 1024)'),
    '--bag-disk': (
        DISK,
        'MIB',
        'disk for unpacked files (default: half of what is free, 200 times the file)',
    ),
    '--bag-time': (
        TIME,
        'S',
        'longest time to open it (default: 60, and 1 for each 4 MB)',
    ),
}


class _SetLimit(argparse.Action):
    """Sets the limit for this process and for those that it starts."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        if not isinstance(values, float) or not 0 < values < 2**40:
            parser.error(f'{option_string}: expected a number above 0')
        os.environ[LIMITS[str(self.option_strings[0])][0]] = f'{values:g}'


def add_bag_limits(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    group = parser.add_argument_group(
        'limits of a bag', 'A bag that needs more is refused, because it may be malicious.'
    )
    for option, (_, unit, words) in LIMITS.items():
        group.add_argument(
            option, type=float, action=_SetLimit, metavar=unit, help=words, dest=argparse.SUPPRESS
        )
