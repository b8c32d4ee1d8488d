"""Refuse options that another option leaves without effect."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from yolox_trt_ros.core.errors import ConfigError


def refuse_unused(
    args: argparse.Namespace,
    declare: Callable[[argparse.ArgumentParser], None],
    names: str,
    where: str,
) -> None:
    """See that options were left alone that would be ignored.

    Args:
        args: of the command line.
        declare: the tool's ``add_arguments``, which knows the defaults.
        names: attributes of ``args``, with spaces between them.
        where: what the options are for.

    Raises:
        ConfigError: one has another value than its default.
    """
    parser = argparse.ArgumentParser()
    declare(parser)
    given = [name for name in names.split() if getattr(args, name) != parser.get_default(name)]
    if given:
        options = ', '.join(f'--{name.replace("_", "-")}' for name in given)
        raise ConfigError(f'{options}: for {where} only; without effect here, so leave it out')
