"""What the Fast DDS profiles make of an image: many pieces, or one message."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from yolox_trt_ros.ros.dds import settings

ROOT = Path(__file__).parents[3]
VARIABLE = settings.profile_variable(settings.DEFAULT_RMW)
WIDTH, HEIGHT = 640, 480

PUBLISH = f"""
import time
import rclpy
from sensor_msgs.msg import Image
rclpy.init()
publisher = rclpy.create_node('driver').create_publisher(Image, '/image', 1)
message = Image(height={HEIGHT}, width={WIDTH}, step={WIDTH * 3}, encoding='bgr8')
message.data.frombytes(bytes({WIDTH * 3} * [7]) * {HEIGHT})
while True:
    publisher.publish(message)
    time.sleep(0.2)
"""
RECEIVE = """
import rclpy
from sensor_msgs.msg import Image
rclpy.init()
node, images = rclpy.create_node('receiver'), []
node.create_subscription(Image, '/image', images.append, 1)
while not images:
    rclpy.spin_once(node)
print(len(images[0].data), set(images[0].data))
"""


def longest_packet(dump: Path) -> int:
    """Return the bytes of the longest packet in Fast DDS's own record of what it sent."""
    lines = re.findall(r'^([0-9a-f]{6,8}) ', dump.read_text(), re.MULTILINE)
    return max(int(offset, 16) for offset in lines)


@pytest.mark.ros
@pytest.mark.parametrize(
    ('profile', 'whole'), [('fastdds_8cam', False), ('fastdds_8cam_one_computer', True)]
)
def test_image_travels_as_described(profile: str, whole: bool, tmp_path: Path) -> None:
    text = (ROOT / f'config/dds/{profile}.xml').read_text()
    assert text.count('<type>SHM</type>') == 1
    dump, recording = tmp_path / 'sent.txt', tmp_path / 'recording.xml'
    record = f'<type>SHM</type><rtps_dump_file>{dump}</rtps_dump_file>'
    recording.write_text(text.replace('<type>SHM</type>', record))
    environ = os.environ | {
        'ROS_DOMAIN_ID': str(102 + os.getpid() % 90),
        'ROS_AUTOMATIC_DISCOVERY_RANGE': 'SUBNET',
        VARIABLE: str(recording),
    }
    driver = subprocess.Popen([sys.executable, '-c', PUBLISH], env=environ)
    try:
        environ[VARIABLE] = str(ROOT / f'config/dds/{profile}.xml')
        command = [sys.executable, '-c', RECEIVE]
        said = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60)
        time.sleep(0.5)  # until the record is written
    finally:
        driver.kill()
        driver.wait()
    assert said.stdout.strip() == f'{WIDTH * HEIGHT * 3} {{7}}', said.stderr[-2000:]
    assert (longest_packet(dump) > WIDTH * HEIGHT * 3 - 100) is whole
