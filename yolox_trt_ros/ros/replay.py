"""Play a recorded drive through real topics: at its own pace, or in step with the detector."""

from __future__ import annotations

import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
from rclpy.node import Node
from rclpy.publisher import Publisher
from rosgraph_msgs.msg import Clock
from vision_msgs.msg import Detection2DArray

from yolox_trt_ros.bags.read_ahead import ReadAhead
from yolox_trt_ros.bags.reader import Bag, Recorded
from yolox_trt_ros.core.config import Config
from yolox_trt_ros.core.errors import YoloxTrtRosError
from yolox_trt_ros.core.messages import header_stamp_ns
from yolox_trt_ros.msg import PipelineStatus
from yolox_trt_ros.ros.lockstep import TIMEOUT_S, Account, Lockstep
from yolox_trt_ros.ros.messages import time_message
from yolox_trt_ros.ros.replay_topics import (
    Played,
    choose_topics,
    open_publishers,
    other_definitions,
)

CLOCK_PERIOD_S = 0.02
LATE_S = 0.005
DISCOVERY_S = 1.0
"""Time that subscribers get to find the publishers: that these have found them tells only half."""
SOMEBODY_S = 3.0
"""Longest wait for the first listener of a bag that is played without a vehicle."""


@dataclass(frozen=True, slots=True)
class ReplayOptions:
    """How a bag is played.

    Attributes:
        rate: speed, 1 is that of the recording; lockstep has its own.
        loop: begin again at the end, until interrupted.
        start_s, duration_s: the part that is played, seconds after the first message.
        topics: only these, by recorded name; empty: all, or the vehicle's cameras.
        remap: recorded names to others.
        clock: publish recording time on ``/clock``.
        reliability: ``best_effort`` or ``reliable`` for all topics; empty: as recorded.
        lockstep: the next image of a camera goes out when the detector has answered the last one.
        timeout_s: longest wait for the detector, at the start and for an answer.
        detector: its fully qualified name.
    """

    rate: float = 1.0
    loop: bool = False
    start_s: float = 0.0
    duration_s: float = math.inf
    topics: tuple[str, ...] = ()
    remap: Mapping[str, str] = field(default_factory=dict)
    clock: bool = False
    reliability: str = ''
    lockstep: bool = False
    timeout_s: float = TIMEOUT_S
    detector: str = '/detector'


@dataclass(slots=True)
class Sent:
    """What was sent.

    Attributes:
        messages: by published name.
        unheard: of them, those that nobody listened to.
        late: messages more than 5 ms after their time.
        worst_late_s: largest lateness.
        elapsed_s: from the first message to the end.
    """

    messages: Counter[str] = field(default_factory=Counter)
    unheard: Counter[str] = field(default_factory=Counter)
    late: int = 0
    worst_late_s: float = 0.0
    elapsed_s: float = 0.0


class Replay:
    """Plays a bag on a node that somebody else spins.

    Serialised messages go out as they were recorded, unparsed.

    Args:
        node: owner of publishers and subscriptions.
        bag: open for reading.
        options: see :class:`ReplayOptions`.
        config: the vehicle whose cameras are played; lockstep needs one.
        warn: told in words what is wrong.
        answer: in lockstep given the camera, the number of the image among all of that camera
            that were sent, from 0, and its detections as bytes; on the thread that spins the node.
        check: called while it waits; what it raises ends the replay.

    Attributes:
        sent: counts so far.
        lockstep: the state of lockstep, or None.

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
            self._clock = node.create_publisher(Clock, '/clock', 10)
        self.sent = Sent()
        self._changed = threading.Condition()
        self.lockstep: Lockstep | None = None
        self._resend: set[str] = set()
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
        detector = self._options.detector
        for camera in config.cameras:
            self._node.create_subscription(
                Detection2DArray,
                f'{detector}/{camera.name}/detections',
                lambda cdr, name=camera.name: self._on_detections(name, cdr),
                100,
                raw=True,
            )
        self._node.create_subscription(PipelineStatus, f'{detector}/status', self._on_status, 5)

    def _on_detections(self, camera: str, cdr: bytes) -> None:
        assert self.lockstep
        with self._changed:
            if self.lockstep.answered(camera, header_stamp_ns(cdr)) and self._answer:
                self._answer(camera, self.lockstep.outcomes[camera].sent - 1, cdr)
            self._changed.notify_all()

    def _on_status(self, message: PipelineStatus) -> None:
        lockstep = self.lockstep
        assert lockstep
        with self._changed:
            for camera in message.cameras:
                dropped = dict(zip(camera.drop_reasons, camera.drop_counts, strict=True))
                account = Account(camera.received, camera.waiting + camera.in_flight, dropped)
                if not self.sent.messages:
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
