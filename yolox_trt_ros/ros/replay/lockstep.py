"""Decide when a camera's next recorded image may be sent: when the last one is settled.

Nothing here imports ROS.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

TIMEOUT_S = 60.0
SETTLED_S = 1.5
"""Age of an image from which on the detector's account of it counts; it accounts once a second."""
MOST_SENDS = 3


@dataclass(frozen=True, slots=True)
class Account:
    """What the detector says of a camera in its status.

    Attributes:
        received: images since its start.
        busy: of these, waiting or on a lane.
        dropped: by reason.
    """

    received: int
    busy: int
    dropped: Mapping[str, int]


@dataclass(slots=True)
class _Open:
    """An image without an answer."""

    stamp_ns: int
    since_s: float
    sends: int = 1
    seen: str = ''


@dataclass(slots=True)
class Outcome:
    """What became of one camera's images: ``sent == answered + dropped + unseen + lost``.

    Attributes:
        sent: images, each counted once however often it was sent.
        answered: with detections.
        dropped: by the detector, by reason.
        unseen: processed, but the detections did not arrive here.
        lost: no answer and no account, given up.
        resent: images that had to be sent again, since the detector had not received them.
    """

    sent: int = 0
    answered: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    unseen: int = 0
    lost: int = 0
    resent: int = 0

    @property
    def complete(self) -> bool:
        """Whether every image was answered."""
        return self.sent == self.answered


class Lockstep:
    """One open image per camera; the rest of the cameras go on meanwhile.

    An image is settled by detections with its stamp. Where none come, the detector's own account
    decides, heard twice: it has the image and nothing waits, so it was dropped (and the reason is
    known) or its detections got lost on the way; or it never had it, so it is sent again. Where
    the detector says nothing at all, the image is given up after a while.

    Args:
        cameras: their names.
        timeout_s: after which an image is given up.
    """

    def __init__(self, cameras: Iterable[str], timeout_s: float = TIMEOUT_S) -> None:
        self._timeout_s = timeout_s
        self._open: dict[str, _Open] = {}
        self._first: dict[str, Account] = {}
        self.outcomes = {name: Outcome() for name in cameras}

    @property
    def idle(self) -> bool:
        """Whether every image has been settled."""
        return not self._open

    def may_send(self, camera: str) -> bool:
        """Return whether the camera's last image has been settled."""
        return camera not in self._open

    def begin(self, camera: str, account: Account) -> None:
        """Note the account before the first image."""
        self._first[camera] = account

    @property
    def begun(self) -> bool:
        """Whether there is an account of every camera."""
        return self._first.keys() >= self.outcomes.keys()

    def sent(self, camera: str, stamp_ns: int, now_s: float) -> None:
        """Note that an image went out."""
        self.outcomes[camera].sent += 1
        self._open[camera] = _Open(stamp_ns, now_s)

    def answered(self, camera: str, stamp_ns: int) -> bool:
        """Note detections, and return whether they are those of the open image.

        Those of no open image are further answers to one that was sent twice.
        """
        image = self._open.get(camera)
        if not image or image.stamp_ns != stamp_ns:
            return False
        self.outcomes[camera].answered += 1
        del self._open[camera]
        return True

    def account(self, camera: str, account: Account, now_s: float) -> bool:
        """Take the detector's account; return whether the open image has to be sent again."""
        image, first = self._open.get(camera), self._first[camera]
        if not image or now_s - image.since_s < SETTLED_S:
            return False
        outcome = self.outcomes[camera]
        if account.received - first.received < outcome.sent:
            state = 'missing'
        else:
            state = 'waiting' if account.busy else 'handled'
        again, image.seen = state == image.seen, state
        if not again or state == 'waiting':
            return False
        if state == 'handled':
            self._settle_handled(camera, account)
        elif image.sends < MOST_SENDS:
            self._open[camera] = _Open(image.stamp_ns, now_s, image.sends + 1)
            outcome.resent += image.sends == 1
            return True
        else:
            self._give_up(camera)
        return False

    def give_up(self, now_s: float) -> list[str]:
        """Settle what is overdue as lost, and return the cameras."""
        late = [c for c, image in self._open.items() if now_s - image.since_s > self._timeout_s]
        for camera in late:
            self._give_up(camera)
        return late

    def _give_up(self, camera: str) -> None:
        outcome = self.outcomes[camera]
        outcome.lost += 1
        del self._open[camera]
        # It is not expected any more in the detector's count of what it received.
        first = self._first[camera]
        self._first[camera] = Account(first.received - 1, first.busy, first.dropped)

    def _settle_handled(self, camera: str, account: Account) -> None:
        outcome = self.outcomes[camera]
        new = Counter(account.dropped) - Counter(self._first[camera].dropped) - outcome.dropped
        if new:
            outcome.dropped[next(iter(new))] += 1
        else:
            outcome.unseen += 1
        del self._open[camera]
