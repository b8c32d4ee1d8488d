"""An executor that survives exceptions of callbacks."""

from __future__ import annotations

import re
import traceback
from collections import Counter
from typing import Any

from rclpy.executors import SingleThreadedExecutor

KINDS = 20
"""Most kinds of problems; numbers in a message do not make another kind."""
NUMBER = re.compile(r'\d+')


class SteadyExecutor(SingleThreadedExecutor):
    """Spins on when a callback, or rclpy itself, fails on what somebody sent.

    rclpy raises out of ``spin_once`` on a parameter of unknown type or a negative ``/clock``, and
    leaves what failed marked as running: nothing of its callback group would ever run again. Here
    the error is logged, counted, and costs no more than what caused it.

    Attributes:
        unusable: how many requests and messages could not be used, by kind of error.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.unusable: Counter[str] = Counter()
        self._entity: Any = None

    def wait_for_ready_callbacks(self, *args: Any, **options: Any) -> Any:
        """Return what runs next, and remember whose it is."""
        ready = super().wait_for_ready_callbacks(*args, **options)
        self._entity = ready[1]
        return ready

    def spin_once(self, timeout_sec: float | None = None) -> None:
        """Run one callback; raise only when the context was shut down."""
        self._entity = None
        try:
            super().spin_once(timeout_sec)
        except Exception as error:
            if not self.context.ok():
                raise
            self._note(error)

    def _note(self, error: Exception) -> None:
        """Count an error; log the first, tenth, hundredth … one of a kind."""
        place = traceback.extract_tb(error.__traceback__)[-1]
        problem = f'{_release(self._entity)}: {error!r} in {place.filename}:{place.lineno}'
        kind = NUMBER.sub('#', problem)
        if kind not in self.unusable and len(self.unusable) >= KINDS:
            kind = 'any other'
        self.unusable[kind] = count = self.unusable[kind] + 1
        if str(count).strip('0') == '1':
            for node in self.get_nodes():
                node.get_logger().error(f'could not be used, {count} so far: {problem}')


def _release(entity: Any) -> str:
    """Let run again what an error left marked as running, and return its name."""
    if entity is None:
        return 'waiting'
    group = entity.callback_group
    if getattr(group, '_active_entity', None) is entity:
        group.ending_execution(entity)
    entity._executor_event = False
    return getattr(entity, 'topic_name', '') or getattr(entity, 'srv_name', '') or 'a callback'
