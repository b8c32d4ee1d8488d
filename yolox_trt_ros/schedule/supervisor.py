"""Watches over the lanes: hanging calls, detectors that never get ready, unmet rates."""

from __future__ import annotations

import threading

from yolox_trt_ros.core.threads import named_thread
from yolox_trt_ros.schedule.host import Host

WATCH_NS = 100_000_000
"""How often the lanes are looked after."""
PROGRESS_NS = 30_000_000_000
"""How often a lane that builds or measures its detector says so."""
OVERSLEPT_NS = 200_000_000
"""A watchdog that comes this much too late has not run, and neither have the lanes: the process was
stopped, or the computer slept. That is nobody's fault."""
QUIET_NS = 60_000_000_000
"""Shortest time between two lines about rates and deadlines that cannot be met."""


class Supervisor:
    """The pipeline's watchdog, on a thread of its own.

    Args:
        host: the pipeline.
        build_timeout_ns: longest time for building, and for measuring, a detector.
    """

    def __init__(self, host: Host, build_timeout_ns: int) -> None:
        self._host = host
        self._build_timeout_ns = build_timeout_ns
        self._reported_ns: dict[str, int] = {}
        self._looked_ns: int | None = None
        self._missing: frozenset[str] = frozenset()
        self._missing_ns: int | None = None
        self._stop = threading.Event()
        self._thread = named_thread(self._run, 'supervisor')

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self, timeout_s: float) -> None:
        """End the thread."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    def watch_builds(self) -> None:
        """Report what lanes are at before they serve, and give up those that never end."""
        self._notice_stop()
        now_ns = self._host.clock()
        for name, what, since_ns in self._host.lanes_at_work():
            spent_ns = now_ns - since_ns
            limit = f'limit {self._build_timeout_ns / 1e9:g} s (build_timeout_s)'
            if spent_ns > self._build_timeout_ns:
                error = TimeoutError(f'still {what} after {spent_ns / 1e9:.0f} s, {limit}')
                self._host.lane_failed(self._host.workers[name], error)
            elif now_ns >= max(self._reported_ns.get(name, 0), since_ns) + PROGRESS_NS:
                self._reported_ns[name] = now_ns
                self._host.event('info', f'lane {name}: {what} for {spent_ns / 1e9:.0f} s, {limit}')

    def report_missing(self) -> None:
        """Log when other cameras than before cannot get their rate or deadline; not too often."""
        now_ns = self._host.clock()
        missing = self._host.missing()
        quiet = self._missing_ns is not None and now_ns < self._missing_ns + QUIET_NS
        if quiet or missing.keys() == self._missing:
            return
        self._missing, self._missing_ns = frozenset(missing), now_ns
        if missing:
            lacks = '; '.join(f'{name}: {lack}' for name, lack in missing.items())
            self._host.event('warn', f'not met: {lacks}')
        else:
            self._host.event('info', 'every camera can have its rate and its deadline again')

    def _run(self) -> None:
        while not self._stop.wait(WATCH_NS / 1e9):
            self._notice_stop()
            self._host.give_up_hung()
            self.watch_builds()
            self.report_missing()

    def _notice_stop(self) -> None:
        """Leave out of all accounts what time the watchdog had not."""
        now_ns, before_ns = self._host.clock(), self._looked_ns
        self._looked_ns = now_ns
        if before_ns is not None and now_ns > before_ns + WATCH_NS + OVERSLEPT_NS:
            self._host.time_lost(before_ns + WATCH_NS, now_ns)
