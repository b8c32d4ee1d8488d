"""What one message or request makes rclpy raise ends no node, and costs nothing else."""

from collections.abc import Callable, Iterator

import pytest
import rclpy
from builtin_interfaces.msg import Time
from peer import DOMAIN, Peer
from rcl_interfaces.msg import Parameter as ParameterMessage
from rcl_interfaces.msg import ParameterValue
from rcl_interfaces.srv import GetParameters, SetParameters
from rclpy.client import Client
from rclpy.node import Node
from rclpy.parameter import Parameter
from rosgraph_msgs.msg import Clock
from std_msgs.msg import String

from yolox_trt_ros.ros.executor import SteadyExecutor

pytestmark = [pytest.mark.ros, pytest.mark.timeout(400)]


class Robot:
    """A node that follows /clock, spun by the executor that is tried."""

    def __init__(self) -> None:
        self.context = rclpy.Context()
        self.context.init(domain_id=DOMAIN)
        sim_time = Parameter('use_sim_time', value=True)
        self.node = Node('steady', context=self.context, parameter_overrides=[sim_time])
        self.executor = SteadyExecutor(context=self.context)
        self.executor.add_node(self.node)
        self.heard: list[str] = []
        self.node.create_subscription(String, 'steady_word', self._hear, 10)

    def _hear(self, message: String) -> None:
        self.heard.append(message.data)
        if message.data.startswith('bad'):
            raise KeyError(message.data)

    def until(self, what: Callable[[], object], peer: Peer) -> None:
        def both() -> object:
            self.executor.spin_once(timeout_sec=0.05)
            return what()

        peer.until(both)

    def until_it_answers(self, client: Client, request: object, peer: Peer) -> None:
        """Call until a call is answered: the first may come before both sides have matched."""
        calls = []

        def answered() -> bool:
            calls.append(client.call_async(request))
            return any(call.done() for call in calls)

        self.until(answered, peer)

    def counts(self) -> list[int]:
        return list(self.executor.unusable.values())

    def close(self) -> None:
        self.executor.shutdown()
        self.node.destroy_node()
        self.context.try_shutdown()


@pytest.fixture
def robot() -> Iterator[Robot]:
    opened = Robot()
    yield opened
    opened.close()


def test_a_negative_clock_is_counted_and_the_next_one_is_good(robot: Robot, peer: Peer) -> None:
    clock = peer.node.create_publisher(Clock, '/clock', 10)

    def set_to_1_s() -> bool:
        clock.publish(Clock(clock=Time(sec=1)))  # what comes before both sides have matched is lost
        return bool(robot.node.get_clock().now().nanoseconds == 10**9)

    robot.until(set_to_1_s, peer)
    for n in range(1, 4):
        clock.publish(Clock(clock=Time(sec=-n)))
        robot.until(lambda count=n: robot.counts() == [count], peer)
    assert '/clock' in next(iter(robot.executor.unusable))
    clock.publish(Clock(clock=Time(sec=7)))
    robot.until(lambda: robot.node.get_clock().now().nanoseconds == 7 * 10**9, peer)
    peer.node.destroy_publisher(clock)


def test_a_parameter_of_unknown_type_is_counted_and_services_go_on(
    robot: Robot, peer: Peer
) -> None:
    setting = peer.node.create_client(SetParameters, '/steady/set_parameters')
    getting = peer.node.create_client(GetParameters, '/steady/get_parameters')
    robot.until_it_answers(setting, SetParameters.Request(), peer)
    robot.until_it_answers(getting, GetParameters.Request(), peer)
    unknown = ParameterMessage(name='use_sim_time', value=ParameterValue(type=77))
    for n in (1, 2):
        setting.call_async(SetParameters.Request(parameters=[unknown]))
        robot.until(lambda count=n: robot.counts() == [count], peer)
    answer = getting.call_async(GetParameters.Request(names=['use_sim_time']))
    robot.until(answer.done, peer)
    assert answer.result().values[0].bool_value
    for client in (setting, getting):
        peer.node.destroy_client(client)


def test_what_a_callback_raises_is_counted_by_kind(robot: Robot, peer: Peer) -> None:
    words = peer.node.create_publisher(String, 'steady_word', 10)

    def heard() -> bool:
        words.publish(String(data='first'))
        return bool(robot.heard)

    robot.until(heard, peer)
    for word in ('bad 1', 'bad 22', 'good', 'bad 333'):
        words.publish(String(data=word))
        robot.until(lambda w=word: robot.heard[-1:] == [w], peer)
    assert robot.counts() == [3], 'they differ in their numbers only'
    peer.node.destroy_publisher(words)


def test_the_end_of_the_context_is_reported(robot: Robot) -> None:
    robot.context.shutdown()
    with pytest.raises(Exception, match='context'):  # which one depends on the moment
        robot.executor.spin_once(timeout_sec=0.0)
