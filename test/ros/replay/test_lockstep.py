"""The next image goes out when the last one is settled; every image is accounted for."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yolox_trt_ros.ros.replay.lockstep import MOST_SENDS, SETTLED_S, Account, Lockstep


def begun(timeout_s: float = 60.0) -> Lockstep:
    lockstep = Lockstep(['a'], timeout_s)
    lockstep.begin('a', Account(5, 0, {'replaced': 1}))
    return lockstep


def test_detections_with_the_stamp_settle_an_image() -> None:
    lockstep = begun()
    lockstep.sent('a', 100, 0.0)
    assert not lockstep.may_send('a')
    lockstep.answered('a', 99)
    assert not lockstep.may_send('a')
    lockstep.answered('a', 100)
    assert lockstep.may_send('a') and lockstep.outcomes['a'].complete


def test_a_drop_is_known_from_two_accounts_with_its_reason() -> None:
    lockstep = begun()
    lockstep.sent('a', 100, 0.0)
    dropped = Account(6, 0, {'replaced': 1, 'malformed': 1})
    assert not lockstep.account('a', dropped, SETTLED_S / 2)  # may be older than the image
    assert not lockstep.account('a', dropped, SETTLED_S + 1)
    assert not lockstep.may_send('a')  # its detections may still be on their way
    lockstep.account('a', dropped, SETTLED_S + 2)
    assert lockstep.may_send('a')
    assert lockstep.outcomes['a'].dropped == {'malformed': 1}


def test_detections_lost_on_the_return_are_not_taken_for_drops() -> None:
    lockstep = begun()
    lockstep.sent('a', 100, 0.0)
    for t_s in (2.0, 3.0):
        lockstep.account('a', Account(6, 0, {'replaced': 1}), t_s)
    assert lockstep.outcomes['a'].unseen == 1


def test_an_image_on_a_slow_lane_is_waited_for() -> None:
    lockstep = begun()
    lockstep.sent('a', 100, 0.0)
    for t_s in range(2, 50):
        assert not lockstep.account('a', Account(6, 1, {}), float(t_s))
    assert not lockstep.may_send('a')


def test_an_image_that_never_arrived_is_sent_again_and_finally_given_up() -> None:
    lockstep = begun()
    lockstep.sent('a', 100, 0.0)
    resent = [t for t in range(2, 30) if lockstep.account('a', Account(5, 0, {}), float(t))]
    assert len(resent) == MOST_SENDS - 1
    outcome = lockstep.outcomes['a']
    assert (outcome.sent, outcome.lost, outcome.resent) == (1, 1, 1)
    lockstep.sent('a', 200, 40.0)  # the next one is not held against it
    lockstep.account('a', Account(6, 1, {}), 42.0)
    assert not lockstep.account('a', Account(6, 1, {}), 43.0)
    lockstep.answered('a', 200)
    assert lockstep.idle


def test_a_silent_detector_ends_the_wait() -> None:
    lockstep = begun(timeout_s=10.0)
    lockstep.sent('a', 100, 0.0)
    assert lockstep.give_up(9.0) == []
    assert lockstep.give_up(11.0) == ['a']
    assert lockstep.outcomes['a'].lost == 1


class Node:
    """A detector with one camera: gets an image or not, answers it, drops it or is mute."""

    def __init__(self) -> None:
        self.account = Account(0, 0, {})
        self.answers: list[int] = []

    def receive(self, stamp_ns: int, fate: str) -> None:
        if fate == 'lost on the way':
            return
        dropped = dict(self.account.dropped)
        if fate == 'dropped':
            dropped['undecodable'] = dropped.get('undecodable', 0) + 1
        elif fate == 'answered':
            self.answers.append(stamp_ns)
        self.account = Account(self.account.received + 1, 0, dropped)


FATES = st.sampled_from(['answered', 'answered', 'dropped', 'lost on the way', 'mute'])


@given(st.lists(FATES, max_size=12), st.data())
def test_whatever_happens_the_replay_ends_and_the_counts_are_right(
    fates: list[str], data: Any
) -> None:
    lockstep, node, now_s = Lockstep(['a'], 60.0), Node(), 0.0
    lockstep.begin('a', node.account)
    happened = []
    for number, fate in enumerate(fates):
        assert lockstep.may_send('a')
        lockstep.sent('a', number, now_s)
        node.receive(number, fate)
        while not lockstep.idle:
            now_s += 1.0
            for stamp in node.answers:
                lockstep.answered('a', stamp)
            node.answers = []
            if lockstep.account('a', node.account, now_s):
                fate = data.draw(FATES)
                node.receive(number, fate)
            lockstep.give_up(now_s)
        happened.append(fate)
    outcome = lockstep.outcomes['a']
    assert outcome.sent == len(fates)
    assert outcome.answered == happened.count('answered')
    assert outcome.dropped.total() == happened.count('dropped')
    assert outcome.unseen == happened.count('mute')
    assert outcome.lost == happened.count('lost on the way')


def test_accounts_are_needed_before_the_first_image() -> None:
    lockstep = Lockstep(['a', 'b'])
    lockstep.begin('a', Account(0, 0, {}))
    assert not lockstep.begun
    lockstep.begin('b', Account(0, 0, {}))
    assert lockstep.begun


@pytest.mark.parametrize(('answered', 'complete'), [(True, True), (False, False)])
def test_complete_means_answered(answered: bool, complete: bool) -> None:
    lockstep = begun(1.0)
    lockstep.sent('a', 1, 0.0)
    if answered:
        lockstep.answered('a', 1)
    lockstep.give_up(5.0)
    assert lockstep.outcomes['a'].complete is complete
