"""Scores of classes as parameters write them: ``CLASS=SCORE``."""

from __future__ import annotations

import re
from collections.abc import Iterable

from yolox_trt_ros.core.errors import ConfigError
from yolox_trt_ros.core.printing import shown

_SCORE = re.compile(r'(0|1|[01]?\.\d{1,9}|0\.|1\.)')


def read_score(text: str, parameter: str) -> tuple[str, float]:
    """Return the class and the score of ``person=0.25``.

    Raises:
        ConfigError: it is written otherwise; the message begins with the parameter's name.
    """
    name, equals, score = (part.strip() for part in text.rpartition('='))
    if not equals or not name or not _SCORE.fullmatch(score) or float(score) > 1:
        raise ConfigError(
            f'{parameter}: expected CLASS=SCORE with a score of 0 to 1, such as "person=0.25", got '
            f'{shown(text)}'
        )
    return name, float(score)


def score_problems(where: str, given: Iterable[str]) -> list[str]:
    """Return what is wrong with ``<where>.class_thresholds``."""
    problems = []
    for text in given:
        try:
            read_score(text, f'{where}.class_thresholds')
        except ConfigError as error:
            problems.append(str(error))
    return problems
