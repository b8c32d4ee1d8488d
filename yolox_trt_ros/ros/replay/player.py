"""Play a recorded drive through real topics: at its own pace, or in step with the detector."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
from rclpy.node import Node
from rclpy.publisher import Publisher
from rosgraph_msgs.msg import Clock

from yolox_trt_ros.bags.read_ahead import ReadAhead
from yolox_trt_ros.bags.reader import Bag, Recorded
from yolox_trt_ros.core.config import Config
from yolox_trt_ros.core.errors import YoloxTrtRosError
from yolox_trt_ros.core.messages import header_stamp_ns
from yolox_trt_ros.msg import PipelineStatus
from yolox_trt_ros.ros.output.messages import time_message
from yolox_trt_ros.ros.replay.arrivals import Arrivals
from yolox_trt_ros.ros.replay.lockstep import Account, Lockstep
from yolox_trt_ros.ros.replay.options import ReplayOptions, Sent
from yolox_trt_ros.ros.replay.topics import (
    CLOCK,
    Played,
    choose_topics,
    open_publishers,
    other_definitions,
    results_in,
)
from yolox_trt_ros.ros.results import ResultSubscriptions

CLOCK_PERIOD_S = 0.02
LATE_S = 0.005
LOOK_S = 1.0
"""Time between two looks for other publishers of what is played."""
DISCOVERY_S = 1.0
"""Time that subscribers get to find the publishers: that these have found them shows only half."""
ACCOUNT_S = 4.0
"""Longest wait for the detector's account of what it received; it accounts once a second."""
SOMEBODY_S = 3.0
"""Longest wait for the first listener of a bag that is played without a vehicle."""


class Replay:
    """Plays a bag on a node that somebody else spins.

    Serialised messages go out as they were recorded, unparsed.

    Args:
        node: owner of publishers and subscriptions.
        bag: open for reading.
        options: see :class:`ReplayOptions`.
        config: the vehicle whose cameras are played; lockstep needs one.
        warn: called with what is wrong.
        answer: in lockstep given the camera, the number of the image among all of that camera
            that were sent, from 0, and its detections as bytes; on the thread that spins the node.
        check: called while it waits; what it raises ends the replay.

    Attributes:
        sent: counts so far.
        lockstep: the state of lockstep, or None.
        arrivals: what the detector says it received of a vehicle's cameras.

    Raises:
        BagError: nothing to play, or a camera's images are not there.
        MissingDependencyError: a type that was asked for is not installed.
    """

    def __init__(
        self,
        node: Node,
        bag: Bag,
        options: ReplayOptions,
        config: Config | None = None,
        warn: Callable[[str], None] = print,
        answer: Callable[[str, int, bytes], None] | None = None,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        self._node, self._bag, self._options, self._warn = node, bag, options, warn
        self._answer, self._check = answer, check
        self._played: dict[str, Played] = {
            p.recorded.name: p
            for p in choose_topics(
                bag,
                options.topics,
                options.remap,
                config=config,
                detector=options.detector,
                clock=options.clock,
            )
        }
        self._publishers, left_out = open_publishers(
            node,
            list(self._played.values()),
            # A queue of one image that is never overwritten is no reason to risk losing it.
            'reliable' if options.lockstep else options.reliability,
            strict=bool(options.topics),
        )
        for sentence in left_out:
            warn(sentence)
        types = (self._played[name].recorded.type for name in self._publishers)
        for msgtype in other_definitions(bag, types):
            warn(
                f'{msgtype} was recorded with another definition than the installed one: '
                'subscribers will misread it'
            )
        self._clock: Publisher[Clock] | None = None
        if options.clock:
            self._clock = node.create_publisher(Clock, CLOCK, 10)
        self.sent = Sent()
        self._changed = threading.Condition()
        self.lockstep: Lockstep | None = None
        self._resend: set[str] = set()
        self._results = results_in(bag)
        self._others: set[str] = set()
        self._silent: set[str] = set()
        self._look_s = 0.0
        self.arrivals = Arrivals(c.name for c in config.cameras) if config else Arrivals(())
        self._listened = ResultSubscriptions(
            node, options.detector, lambda of, why: warn(f'{of}: {why}')
        )
        if config:
            self._listened.add('status', self._on_status, depth=5)
        if options.lockstep:
            assert config
            self._listen(config)

    @property
    def played(self) -> list[Played]:
        """Return the topics that are played."""
        return list(self._played.values())

    # -- playing -------------------------------------------------------------------------------

    def span_ns(self) -> tuple[int, int]:
        """Return recording time of the first message that is played, and where playing stops."""
        first = self._bag.start_ns + round(self._options.start_s * 1e9)
        if math.isinf(self._options.duration_s):
            return first, self._bag.end_ns + 1
        return first, min(first + round(self._options.duration_s * 1e9), self._bag.end_ns + 1)

    def play(self) -> Iterator[Recorded]:
        """Send every message at its time, and yield it then.

        Of a vehicle's bag, the first message waits until the detector listens to every camera. In
        lockstep, what is open at the end is waited for.

        Raises:
            BagError: the bag ends early.
            YoloxTrtRosError: the detector does not listen within the options' ``timeout_s``, or
                the middleware refused a message.
        """
        first_ns, stop_ns = self.span_ns()
        names = list(self._publishers)
        begun_s = None
        while True:
            with ReadAhead(self._bag.messages(names, first_ns, stop_ns)) as messages:
                messages.fill()
                if begun_s is None:
                    self._wait_for_listeners()
                    self._look_for_others()
                    begun_s = time.monotonic()
                start_s = time.monotonic()
                for message in messages:
                    after_s = (message.t_ns - first_ns) / 1e9 / self._options.rate
                    self._wait(message, start_s + after_s)
                    self._send(message)
                    self.sent.elapsed_s = time.monotonic() - begun_s
                    yield message
            self._wait_for_answers(lambda lockstep: lockstep.idle)
            self.sent.elapsed_s = time.monotonic() - begun_s
            if not self._options.loop:
                return

    def _wait_for_listeners(self) -> None:
        """Wait until the detector listens to every camera, and in lockstep can be heard.

        Without a vehicle, until anybody listens to anything, but not for long.
        """
        cameras = [p for p in self._played.values() if p.camera]
        start = time.monotonic()
        while not cameras and time.monotonic() < start + SOMEBODY_S:
            if any(publisher.wanted for publisher in self._publishers.values()):
                break
            time.sleep(0.05)
        end = start + self._options.timeout_s
        while True:
            deaf = [p.name for p in cameras if not self._publishers[p.recorded.name].wanted]
            silent = self.lockstep is not None and not self.lockstep.begun
            if not deaf and not silent:
                break
            self._check()
            if time.monotonic() > end:
                what = f'nobody listens to {", ".join(deaf)}' if deaf else 'it reports no status'
                raise YoloxTrtRosError(
                    f'{self._options.detector}: {what} after {self._options.timeout_s:g} s; '
                    'is the detector active, and its parameter file this vehicle?'
                )
            time.sleep(0.05)
        time.sleep(DISCOVERY_S)
        if cameras:
            self._wait_for_account(lambda: self.arrivals.begun)

    def _look_for_others(self) -> None:
        """Find topics that somebody else publishes now.

        What is recorded would mix with what is live, and nobody could distinguish them: that is
        said, and recorded results of a detector are not played onto those of a live one.
        """
        self._look_s = time.monotonic() + LOOK_S
        if self._clock and CLOCK not in self._others and self._node.count_publishers(CLOCK) > 1:
            self._others.add(CLOCK)
            self._warn(f'{CLOCK} is published by somebody else now: time jumps back and forth')
        for played in self.played:
            recorded = played.recorded.name
            if recorded in self._others or self._node.count_publishers(played.name) < 2:
                continue
            self._others.add(recorded)
            message = f'{played.name} is published by somebody else now'
            if recorded in self._results and not self._options.topics:
                self._silent.add(recorded)
                self._warn(f'{message}: these results are not played, unless --topics names them')
            else:
                self._warn(f'{message}: recorded and live messages mix')

    def _wait_for_account(self, enough: Callable[[], bool]) -> None:
        end = time.monotonic() + ACCOUNT_S
        with self._changed:
            while not enough() and time.monotonic() < end:
                self._changed.wait(0.1)

    def lost(self) -> dict[str, tuple[int, int]]:
        """Return images sent and received, of each camera of which not all arrived.

        Waits for the detector's account of the last ones. Cameras of which it says nothing, and a
        lockstep, which has its own account, are left out.
        """
        if self.lockstep or not self.arrivals.begun:
            return {}
        heard = self.arrivals.accounts
        # The first one may have been made before the last image.
        self._wait_for_account(lambda: self.arrivals.accounts >= heard + 2)
        found = {}
        for played in self.played:
            sent, received = self.sent.messages[played.name], self.arrivals.received(played.camera)
            if played.camera and received is not None and received < sent:
                found[played.camera] = sent, received
        return found

    def _wait(self, message: Recorded, due_s: float) -> None:
        camera = self._played[message.topic].camera
        if self.lockstep:
            if camera:
                self._wait_for_answers(lambda lockstep: lockstep.may_send(camera))
            self._tick(message.t_ns)
            return
        while (left_s := due_s - time.monotonic()) > 0:
            self._tick(message.t_ns - round(left_s * 1e9 * self._options.rate))
            time.sleep(min(left_s, CLOCK_PERIOD_S))
        self._tick(message.t_ns)
        self.sent.late += -left_s > LATE_S
        self.sent.worst_late_s = max(self.sent.worst_late_s, -left_s)

    def _tick(self, t_ns: int) -> None:
        if self._clock:
            self._clock.publish(Clock(clock=time_message(t_ns)))

    def _send(self, message: Recorded) -> None:
        played = self._played[message.topic]
        if time.monotonic() > self._look_s:
            self._look_for_others()
        if message.topic in self._silent:
            self.sent.left_out[played.name] += 1
            return
        if self.lockstep and played.camera:
            with self._changed:
                self.lockstep.sent(played.camera, header_stamp_ns(message.cdr), time.monotonic())
                self._open[played.camera] = message
        publisher = self._publishers[message.topic]
        wanted = publisher.wanted
        if wanted or publisher.latched:
            publisher.publish(np.frombuffer(message.cdr, np.uint8))
        self.sent.messages[played.name] += 1
        self.sent.unheard[played.name] += not wanted

    # -- lockstep ------------------------------------------------------------------------------

    def _listen(self, config: Config) -> None:
        self.lockstep = Lockstep([c.name for c in config.cameras], self._options.timeout_s)
        self._open: dict[str, Recorded] = {}
        for camera in config.cameras:
            take = partial(self._on_detections, camera.name)
            # Whichever of the two is published: it is only the stamp that counts.
            result = 'detections' if 'detections' in config.outputs else 'objects'
            self._listened.add(result, take, camera, depth=100, raw=True)

    def _on_detections(self, camera: str, cdr: bytes) -> None:
        assert self.lockstep
        with self._changed:
            if self.lockstep.answered(camera, header_stamp_ns(cdr)) and self._answer:
                self._answer(camera, self.lockstep.outcomes[camera].sent - 1, cdr)
            self._changed.notify_all()

    def _on_status(self, message: PipelineStatus) -> None:
        lockstep, sending = self.lockstep, bool(self.sent.messages)
        with self._changed:
            self.arrivals.account({c.name: c.received for c in message.cameras}, sending)
            for camera in message.cameras if lockstep else ():
                assert lockstep
                dropped = dict(zip(camera.drop_reasons, camera.drop_counts, strict=True))
                account = Account(camera.received, camera.waiting + camera.in_flight, dropped)
                if not sending:
                    lockstep.begin(camera.name, account)
                elif lockstep.account(camera.name, account, time.monotonic()):
                    self._resend.add(camera.name)
            self._changed.notify_all()

    def _wait_for_answers(self, enough: Callable[[Lockstep], bool]) -> None:
        lockstep = self.lockstep
        if lockstep is None:
            return
        while True:
            with self._changed:
                self._changed.wait_for(lambda: enough(lockstep) or self._resend, timeout=0.2)
                again, self._resend = self._resend, set()
                lost = lockstep.give_up(time.monotonic())
                done = enough(lockstep)
            self._check()
            for camera in lost:
                self._warn(f'{camera}: no answer within {self._options.timeout_s:g} s, given up')
            for camera in again:
                self._warn(f'{camera}: the detector did not receive an image; it is sent again')
                message = self._open[camera]
                self._publishers[message.topic].publish(np.frombuffer(message.cdr, np.uint8))
            if done:
                return
