"""Native input mode: images through this package's own C++, with two copies, none in Python.

The first copy is the middleware's, out of its transport; the second goes straight into a buffer
of the camera's ring, which a frame's ``data`` is a view on. One thread takes the messages of all
cameras; while it waits and copies, it does not hold the interpreter's lock.
"""

from __future__ import annotations

import atexit
import threading
import traceback
from collections.abc import Callable
from contextlib import ExitStack

from rclpy.callback_groups import CallbackGroup
from rclpy.node import Node
from rclpy.utilities import get_rmw_implementation_identifier

from yolox_trt_ros.core.config import CameraConfig
from yolox_trt_ros.core.errors import MissingDependencyError
from yolox_trt_ros.core.host_memory import PinnedMemory
from yolox_trt_ros.core.threads import named_thread
from yolox_trt_ros.ros.input.codecs import NATIVE_READERS
from yolox_trt_ros.ros.input.intake import FrameSink, Intake
from yolox_trt_ros.ros.input.subscribe import message_type, subscribe
from yolox_trt_ros.ros.native import load_native

DIRECT_MIDDLEWARES = ('rmw_fastrtps_cpp',)
"""Those that deserialise by calling the type support's own function; every other one hands over
whole serialised messages, one copy more."""

TICK_S = 0.5
"""Longest time until the thread sees that it shall end, should nobody wake it."""
PAUSE_S = 0.1
"""How long the thread rests when something failed that should not."""


class NativeIngest:
    """Subscriptions of all cameras, taken by a thread of its own instead of an executor.

    Args:
        node: owner of the subscriptions.
        cameras: what to subscribe to.
        pipeline: takes the frames and counts what never became one.
        warn: logs a problem.
        buffers: most images of one camera in memory at a time; made when first needed. While all
            are in use, messages wait in the middleware, where newer ones replace older ones.
        direct: whether payloads are copied straight out of the middleware's memory; None: where
            the middleware can.
        pinned_memory: for the buffers, where a device is to read them; None: ordinary memory.

    Raises:
        MissingDependencyError: the C++ part was not built or does not take a camera's transport,
            or the middleware does not announce messages; the message says which.
    """

    def __init__(
        self,
        node: Node,
        cameras: tuple[CameraConfig, ...],
        pipeline: FrameSink,
        warn: Callable[[str], None],
        buffers: int,
        *,
        direct: bool | None = None,
        pinned_memory: PinnedMemory | None = None,
    ) -> None:
        self._native = load_native()
        if others := sorted({camera.transport for camera in cameras} - NATIVE_READERS.keys()):
            raise MissingDependencyError(f'the C++ part does not take transport {others[0]}')
        middleware = get_rmw_implementation_identifier()
        self._direct = middleware in DIRECT_MIDDLEWARES if direct is None else direct
        self._taken = f'native, {"direct" if self._direct else "serialised"} ({middleware})'
        self.mode = f'{self._taken}, pinned' if pinned_memory else self._taken
        self._node = node
        self._warn = warn
        self._intakes = [Intake(camera, pipeline, warn, self.mode) for camera in cameras]
        self._readers = [NATIVE_READERS[camera.transport] for camera in cameras]
        self.notes = {intake.name: intake.notes for intake in self._intakes}
        self._pinned_memory = pinned_memory
        locks = pinned_memory and (self._pin, self._unpin)
        self._receiver = self._native.Receiver(buffers, locks)
        self._thread = named_thread(self._run, 'ingest')
        self._stopping = threading.Event()
        self._last_warning = ''
        with ExitStack() as undo:
            # It holds our functions for pages: a circle that the garbage collector cannot see.
            undo.callback(setattr, self, '_receiver', None)
            for camera in cameras:
                self._subscribe(camera, undo)
            self._undo = undo.pop_all()
        self._thread.start()
        # A thread that is still in C++ when the interpreter ends would take the process with it.
        atexit.register(self.close)

    def close(self) -> None:
        """Unsubscribe; frames that were handed over keep their images."""
        atexit.unregister(self.close)
        self._stopping.set()
        if self._receiver:
            self._receiver.stop()
        self._thread.join()
        self._undo.close()

    def _subscribe(self, camera: CameraConfig, undo: ExitStack) -> None:
        compressed = camera.transport == 'compressed'
        kind = message_type(camera.transport)
        subscription = subscribe(
            self._node,
            camera,
            _never_called,
            message_class=self._direct_type(kind, compressed) if self._direct else kind,
            group=_NoExecutor(),
        )
        undo.callback(self._node.destroy_subscription, subscription)
        # Held, so that whoever destroys the node cannot free what the thread is using.
        undo.enter_context(subscription.handle)
        # Before any subscription goes, the middleware must no longer call back for it.
        undo.callback(self._receiver.close)
        try:
            self._receiver.add(subscription.handle.pointer, compressed, self._direct)
        except RuntimeError as error:
            raise MissingDependencyError(f'{camera.image_topic}: {error}') from error

    def _direct_type(self, message_type: type, compressed: bool) -> type:
        """Return a class that looks like the message's to rclpy, with our type support."""
        meta = type(message_type)
        meta.__import_type_support__()  # type: ignore[attr-defined]
        support = self._native.direct_type_support(
            meta._TYPE_SUPPORT,  # type: ignore[attr-defined]
            compressed,
        )
        if support is None:
            raise MissingDependencyError(
                f'{message_type.__name__} has no rosidl_typesupport_fastrtps_c: install it, or set '
                'ingest to plain'
            )
        derived = type(meta.__name__, (meta,), {'_TYPE_SUPPORT': support})
        return derived(message_type.__name__, (message_type,), {'__slots__': ()})

    def _pin(self, address: int, size: int) -> bool:
        """Lock a new buffer; without a lock images only cost a copy more."""
        assert self._pinned_memory
        try:
            self._pinned_memory.pin(address, size)
        except Exception as error:
            self._warn_once(f'images are not in pinned memory: {error}')
            self.mode = f'{self._taken}, not pinned: {error}'
            for notes in self.notes.values():
                notes.mode = self.mode
            return False
        return True

    def _unpin(self, address: int) -> None:
        """Unlock a buffer that is about to be freed, whatever the device says to that."""
        assert self._pinned_memory
        try:
            self._pinned_memory.unpin(address)
        except Exception as error:
            self._warn_once(
                f"images' memory was freed without being unregistered from CUDA: {error}"
            )

    def _warn_once(self, problem: str) -> None:
        """Warn, once of each problem in a row."""
        if problem != self._last_warning:
            self._warn(problem)
        self._last_warning = problem

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._take()
            except Exception:
                self._warn_once(f'an image was lost: {traceback.format_exc()}')
                self._stopping.wait(PAUSE_S)

    def _take(self) -> None:
        arrival = self._receiver.take(TICK_S)
        if arrival is None:
            return
        intake = self._intakes[arrival.camera]
        intake.passed_over(arrival.replaced)
        if arrival.lost is not None:
            intake.lost(arrival.lost)
        if arrival.image is not None:
            read = self._readers[arrival.camera]
            intake.receive(arrival.image, read, arrival.received_ns, arrival.sent_ns)


class _NoExecutor(CallbackGroup):
    """Keeps a subscription away from every executor."""

    def can_execute(self, _entity: object) -> bool:
        return False

    def beginning_execution(self, _entity: object) -> bool:
        return False

    def ending_execution(self, _entity: object) -> None:
        pass


def _never_called(message: bytes) -> None:
    raise AssertionError(f'an executor took an image of {len(message)} bytes')
