"""Lifecycle transitions on a thread of their own, so that services are answered meanwhile."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from lifecycle_msgs.srv import ChangeState
from rclpy.lifecycle import LifecycleNode, TransitionCallbackReturn

from yolox_trt_ros.core.threads import named_thread

LONGEST_LABEL = 40
"""No transition's label is longer. rcl logs a label that it does not know as it stands."""


class Transitions:
    """Runs the transitions of a lifecycle node one at a time, off the executor's thread.

    A configure that builds an engine takes minutes. rclpy would run it inside the service's
    callback, and answer nobody meanwhile: no get_state, no get_parameters, no /clock. Here the
    executor only begins it; its answer goes out when the transition is over. What is asked for
    while another one runs is refused at once.

    Args:
        node: whose ``change_state`` service this is; made, and not yet spun.
    """

    def __init__(self, node: LifecycleNode) -> None:
        self._node = node
        self._lock = threading.Lock()
        self._running = ''
        self._since_s = 0.0
        self._closed = False
        self._thread: threading.Thread | None = None
        service = node._service_change_state
        self._change: Callable[..., ChangeState.Response] = service.callback
        self._send: Callable[[ChangeState.Response, Any], None] = service.send_response
        service.callback = self._accept
        service.send_response = self._answer

    @property
    def closed(self) -> bool:
        """Return whether the node ends: a long transition should."""
        return self._closed

    @property
    def running(self) -> str:
        """Return which transition runs now, for people; empty: none."""
        return self._running

    def when_spun(self, *triggers: Callable[[], TransitionCallbackReturn]) -> None:
        """Run transitions one after another once somebody spins the node.

        Args:
            triggers: such as ``node.trigger_configure``; the first that fails is the last.
        """

        def begin() -> None:
            self._node.destroy_guard_condition(spun)
            if not self._begin('autostart', lambda: _run_all(triggers)):
                self._node.get_logger().warning('no autostart: another transition came first')

        spun = self._node.create_guard_condition(begin)
        spun.trigger()

    def close(self) -> None:
        """Refuse transitions from now on; the running one goes on."""
        with self._lock:
            self._closed = True

    def join(self, timeout_s: float) -> bool:
        """Wait for the running transition and return whether it ended in time."""
        thread = self._thread
        if thread:
            thread.join(timeout_s)
        return not (thread and thread.is_alive())

    def _accept(
        self, request: ChangeState.Request, response: ChangeState.Response
    ) -> ChangeState.Response | ChangeState.Request:
        """Take a request: the executor passes on to :meth:`_answer` what this returns."""
        label = request.transition.label
        if label and not (label.isidentifier() and len(label) <= LONGEST_LABEL):
            self._node.get_logger().warning(f'{_name(request)}: there is no such transition')
        elif self._running or self._closed:
            self._refuse(request)
        else:
            return request
        response.success = False
        return response

    def _answer(self, response: ChangeState.Response | ChangeState.Request, header: object) -> None:
        """Send an answer, or begin what was accepted, which is answered when it is over."""
        if isinstance(response, ChangeState.Response):
            self._send(response, header)
            return
        request = response

        def run() -> None:
            answer = self._change(request, ChangeState.Response())
            with self._lock:  # free before the answer is out: the next request follows at once
                self._running = ''
            self._send(answer, header)

        if not self._begin(_name(request), run):
            self._refuse(request)
            self._send(ChangeState.Response(success=False), header)

    def _refuse(self, request: ChangeState.Request) -> None:
        reason = 'the node ends'
        if running := self._running:
            reason = f'{running} has been running for {time.monotonic() - self._since_s:.1f} s'
        self._node.get_logger().warning(f'{_name(request)} was refused: {reason}')

    def _begin(self, name: str, run: Callable[[], None]) -> bool:
        """Start a thread unless one runs, and return whether it was started."""

        def guarded() -> None:
            try:
                run()
            except Exception as error:
                if not self._closed:  # the node's services are gone, and who asked with them
                    self._node.get_logger().error(f'{name}: {error!r}')
            finally:
                with self._lock:
                    if self._thread is threading.current_thread():
                        self._running = ''

        with self._lock:
            if self._running or self._closed:
                return False
            self._running, self._since_s = name, time.monotonic()
            self._thread = named_thread(guarded, 'transition')
            self._thread.start()
        return True


def _run_all(triggers: tuple[Callable[[], TransitionCallbackReturn], ...]) -> None:
    for trigger in triggers:
        if trigger() != TransitionCallbackReturn.SUCCESS:
            return


def _name(request: ChangeState.Request) -> str:
    """Return a transition's name for people: an unknown one's is what was asked for."""
    transition = request.transition
    known = {
        transition.TRANSITION_CONFIGURE: 'configure',
        transition.TRANSITION_CLEANUP: 'cleanup',
        transition.TRANSITION_ACTIVATE: 'activate',
        transition.TRANSITION_DEACTIVATE: 'deactivate',
        transition.TRANSITION_UNCONFIGURED_SHUTDOWN: 'shutdown',
        transition.TRANSITION_INACTIVE_SHUTDOWN: 'shutdown',
        transition.TRANSITION_ACTIVE_SHUTDOWN: 'shutdown',
    }
    return (
        repr(transition.label[:LONGEST_LABEL])
        if transition.label
        else known.get(transition.id, f'transition {transition.id}')
    )
