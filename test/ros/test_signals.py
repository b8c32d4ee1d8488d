"""Signals at random moments, a few of them; ``signals.py`` does as many as are wanted."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import signals
from peer import DOMAIN, Peer
from signals import Moment, Outcome, Subject

from yolox_trt_ros.bags.reader import Bag
from yolox_trt_ros.core import children
from yolox_trt_ros.ros.dds import segments
from yolox_trt_ros.ros.dds.settings import environment

pytestmark = pytest.mark.ros
STARTS = 3
STUCK = """
import argparse, sys, time
from rclpy.node import Node
from yolox_trt_ros.core.interruption import begin
begin(0)
from yolox_trt_ros.ros import process
process.GRACE_S = 1.0

class Stuck(Node):
    def __init__(self):
        super().__init__('stuck')
        if {where!r} == 'made':
            hang()
    def keep_running(self):
        if {where!r} == 'running':
            hang()
        print('running', flush=True)
        return True
    def close(self):
        if {where!r} == 'closed':
            hang()

def hang():
    print('hangs', flush=True)
    time.sleep(1000)  # native code that gives the interpreter's lock away

sys.exit(process.run_node(argparse.ArgumentParser('stuck'), lambda stopping: Stuck(), None))
"""


@pytest.fixture(scope='module')
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp('signals')


@pytest.fixture(scope='module')
def made(folder: Path) -> Iterator[dict[str, Subject]]:
    with pytest.MonkeyPatch.context() as patch:
        # Not the peer's: the port of a dead process stays while somebody writes to it.
        patch.setenv('ROS_DOMAIN_ID', str(1 + (DOMAIN + 49) % 100))
        patch.setenv('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')
        yield {subject.name: subject for subject in signals.subjects(folder)}


def outcome_text(outcome: Outcome) -> str:
    return f'{outcome}\n{outcome.log}'


@pytest.mark.parametrize('number', range(STARTS))
def test_signals_at_random_moments(made: dict[str, Subject], folder: Path, number: int) -> None:
    seed = STARTS * os.getpid() + number
    outcome = signals.attack(list(made.values()), random.Random(seed), folder)
    assert outcome.problems == [], f'seed {seed}: {outcome_text(outcome)}'


def test_a_detector_that_configures_itself_ends(made: dict[str, Subject], folder: Path) -> None:
    subject = made['detector, large model']
    moment = Moment(0.3, 'model ')
    ending = [signal.SIGTERM, signal.SIGINT]
    outcome = signals.start_and_signal(subject, moment, ending, 0.1, folder)
    assert (outcome.code, outcome.problems) == (0, []), outcome_text(outcome)


@pytest.mark.parametrize('name', ['camera_sim, rendering', 'detector, rendering in it'])
def test_rendering_the_world_is_given_up(made: dict[str, Subject], folder: Path, name: str) -> None:
    """It takes minutes at first, in processes of their own."""
    pytest.importorskip('panda3d', reason='the rendered world needs panda3d')
    outcome = signals.start_and_signal(
        made[name], Moment(0.3, 'rendering'), [signal.SIGTERM], 0.0, folder
    )
    assert outcome.phase == 'rendering', outcome_text(outcome)
    assert (outcome.code, outcome.problems) == (0, []), outcome_text(outcome)


@pytest.mark.parametrize(
    ('node', 'words', 'said'),
    [
        ('detector', ['--params-file', 'nowhere.yaml'], 'detector_node: Failed to parse'),
        ('camera_sim', ['-p', 'sim.source:=/nowhere'], 'sim.source: "/nowhere" does not exist'),
    ],
)
def test_a_node_that_cannot_start_says_why_and_leaves_nothing(
    folder: Path, made: dict[str, Subject], node: str, words: list[str], said: str
) -> None:
    before = signals.shared_memory()
    command = [sys.executable, '-m', *made[node].command, *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert (done.returncode, 'Traceback' in done.stderr) == (1, False), done.stderr
    assert said in done.stderr
    assert not signals.shared_memory() - before


@pytest.mark.parametrize('where', ['made', 'running', 'closed'])
def test_a_node_that_hangs_is_left(folder: Path, where: str) -> None:
    program = folder / 'stuck.py'
    program.write_text(STUCK.format(where=where))
    before = signals.shared_memory()
    process = subprocess.Popen(
        [sys.executable, str(program)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout
    assert process.stdout.readline() == ('running\n' if where == 'closed' else 'hangs\n')
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=signals.MOST_S)
    assert process.returncode == 0
    assert 'stuck: node did not end within 1 s: left behind' in errors
    assert not signals.shared_memory() - before


def test_what_a_killed_detector_left_is_removed_by_the_next_start(
    made: dict[str, Subject], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = signals.shared_memory()
    subject = made['detector']
    killed = start(subject, folder / 'killed.log')
    wait_for('model ', folder / 'killed.log')
    killed.kill()
    killed.wait()
    left = signals.shared_memory() - before
    assert len(left) > 3
    time.sleep(segments.JUST_MADE_S)
    moment = Moment(0.0, 'model ')
    outcome = signals.start_and_signal(subject, moment, [signal.SIGINT], 0.0, folder)
    assert 'bytes of shared memory that killed processes had left' in outcome.log
    assert not signals.shared_memory() & left
    assert outcome.problems == [], outcome_text(outcome)


@pytest.mark.parametrize('how', [signal.SIGKILL, signal.SIGTERM])
def test_a_test_runner_that_is_killed_takes_its_detector_with_it(
    made: dict[str, Subject], folder: Path, how: signal.Signals
) -> None:
    """Its detector runs in a session of its own, out of reach of the terminal."""
    test, log = folder / 'test_runner.py', folder / 'runner.log'
    bag, vehicle = folder / 'bag', folder / 'two.param.yaml'
    test.write_text(
        'from yolox_trt_ros.testing import replay\n'
        f'def test_it():\n    replay({str(bag)!r}, {str(vehicle)!r})\n'
    )
    mark = f'runner-{how.name}'
    with log.open('wb') as output:
        runner = subprocess.Popen(
            [sys.executable, '-m', 'pytest', '-p', 'no:cacheprovider', str(test)],
            env={**os.environ, signals.MARK: mark}, stdout=output, stderr=output, cwd=folder,
        )  # fmt: skip
    end = time.monotonic() + signals.MOST_S
    while len(signals.marked(mark)) < 2 and time.monotonic() < end:
        time.sleep(0.05)
    assert len(signals.marked(mark)) == 2, log.read_text()
    runner.send_signal(how)
    runner.wait(signals.MOST_S)
    assert signals.orphans(mark) == []


def test_the_bag_of_an_interrupted_recording_is_whole(
    peer: Peer,
    made: dict[str, Subject],
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv('ROS_DOMAIN_ID', str(DOMAIN))
    monkeypatch.delenv('ROS_AUTOMATIC_DISCOVERY_RANGE')  # the peer has none either
    output, log = tmp_path / 'recorded', folder / 'record.log'
    words = ['yolox_trt_ros', 'record', '--vehicle', str(folder / 'two.param.yaml')]
    recorder = start(Subject('record', [*words, '--output', str(output)], 0.0, []), log)
    from diagnostic_msgs.msg import DiagnosticArray

    publisher = peer.node.create_publisher(DiagnosticArray, '/diagnostics', 50)
    wait_for('recording', log)
    peer.until(lambda: publisher.get_subscription_count() > 1, 'the recorder, beside the peer')
    for _ in range(100):  # some go by until the recorder has found the publisher, too
        publisher.publish(DiagnosticArray())
        peer.spin(0.05)
    recorder.send_signal(signal.SIGHUP)
    recorder.send_signal(signal.SIGTERM)
    assert recorder.wait(signals.MOST_S) == 0, log.read_text()
    assert (output / 'metadata.yaml').stat().st_size
    with Bag(output) as bag:
        assert len(list(bag.messages(['/diagnostics']))) > 10


def start(subject: Subject, log: Path) -> subprocess.Popen[Any]:
    with log.open('wb') as output:
        return children.start(
            [sys.executable, '-m', *subject.command],
            env={**os.environ, **environment(), 'PYTHONUNBUFFERED': '1'},
            stdout=output, stderr=output, start_new_session=True,
        )  # fmt: skip


def wait_for(word: str, log: Path) -> None:
    end = time.monotonic() + signals.WORD_S
    while word not in log.read_text():
        assert time.monotonic() < end, log.read_text()
        time.sleep(0.05)
