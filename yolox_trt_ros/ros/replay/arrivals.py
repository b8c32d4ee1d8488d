"""Count the sent images that the detector's status reports as received; no ROS in here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping


class Arrivals:
    """Compares what was sent of each camera with what the detector says it received.

    Args:
        cameras: their names.

    Attributes:
        accounts: status messages so far.
    """

    def __init__(self, cameras: Iterable[str]) -> None:
        self._cameras = tuple(cameras)
        self._first: dict[str, int] = {}
        self._last: dict[str, int] = {}
        self.accounts = 0

    @property
    def begun(self) -> bool:
        """Whether the detector has reported every camera."""
        return self._first.keys() >= set(self._cameras)

    def account(self, received: Mapping[str, int], sending: bool) -> None:
        """Take what the detector says it received since its start, by camera.

        Args:
            received: images by camera.
            sending: whether images have gone out; before, the counts are those to begin from.
        """
        self.accounts += 1
        for camera in self._cameras:
            if camera in received:
                self._last[camera] = received[camera]
                if not sending:
                    self._first[camera] = received[camera]

    def received(self, camera: str) -> int | None:
        """Return how many images arrived since sending began; None: the detector does not say."""
        if camera not in self._first or self._last[camera] < self._first[camera]:
            return None  # it was started, or activated again, meanwhile
        return self._last[camera] - self._first[camera]
