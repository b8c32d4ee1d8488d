"""The cameras' driver and the detector, started together with the same middleware settings.

    ros2 launch yolox_trt_ros cameras_8cam.launch.py vehicle:=my_car.param.yaml \
        devices:="front=/dev/video0 rear=/dev/video2"

One container process holds a driver component for each named camera, so that all of them share one
segment of shared memory; each publishes on the topic that the vehicle file gives its camera. Takes
the arguments of ``orin_8cam.launch.py`` as well.
"""

from pathlib import Path

from launch import LaunchContext, LaunchDescription, LaunchDescriptionEntity
from launch.actions import (
    DeclareLaunchArgument,
    IncludeLaunchDescription,
    OpaqueFunction,
    Shutdown,
)
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch_ros.actions import ComposableNodeContainer
from launch_ros.descriptions import ComposableNode

from yolox_trt_ros.core.camera_config import CameraConfig
from yolox_trt_ros.core.errors import ConfigError, did_you_mean
from yolox_trt_ros.core.transports import TRANSPORTS
from yolox_trt_ros.vehicle_files import load_vehicle

ARGUMENTS = [
    DeclareLaunchArgument(
        'devices',
        description='Cameras of the vehicle file and their devices: "front=/dev/video0 '
        'rear=/dev/video2".',
    ),
    DeclareLaunchArgument(
        'driver',
        default_value='v4l2_camera:v4l2_camera::V4L2Camera',
        description='Package and plugin of the driver’s component, a colon between them.',
    ),
    DeclareLaunchArgument(
        'device_parameter',
        default_value='video_device',
        description='Parameter of the driver that names its device.',
    ),
    DeclareLaunchArgument(
        'driver_file',
        default_value='',
        description='ROS parameter file of the drivers, whose nodes are named as the cameras are; '
        'empty: their defaults.',
    ),
]


def cameras(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    """Return the container with a driver for each device."""
    chosen = context.launch_configurations
    known = {camera.name: camera for camera in load_vehicle(chosen['vehicle']).cameras}
    package, _, plugin = chosen['driver'].partition(':')
    drivers = [
        ComposableNode(
            package=package,
            plugin=plugin,
            name=camera.name,
            parameters=[
                *filter(None, [chosen['driver_file']]),
                {
                    chosen['device_parameter']: device,
                    'use_sim_time': chosen['use_sim_time'] == 'true',
                },
            ],
            remappings=remappings(camera),
        )
        for camera, device in devices(chosen['devices'], known)
    ]
    return [
        ComposableNodeContainer(
            name='camera_drivers',
            namespace=chosen['namespace'],
            package='rclcpp_components',
            executable='component_container_mt',
            composable_node_descriptions=drivers,
            output='screen',
            emulate_tty=True,
            on_exit=Shutdown(reason='the cameras ended'),
        )
    ]


def devices(given: str, known: dict[str, CameraConfig]) -> list[tuple[CameraConfig, str]]:
    """Return the cameras that the argument names, each with its device."""
    found: dict[str, str] = {}
    for pair in given.split():
        name, equals, device = pair.partition('=')
        if not (equals and device):
            raise ConfigError(f'devices: expected CAMERA=DEVICE, got "{pair}"')
        if name not in known:
            raise ConfigError(
                f'devices: the vehicle has no camera "{name}"{did_you_mean(name, known)}'
            )
        if name in found:
            raise ConfigError(f'devices: {name} has two, {found[name]} and {device}')
        found[name] = device
    if not found:
        raise ConfigError('devices: expected CAMERA=DEVICE, one for each camera, got nothing')
    return [(known[name], device) for name, device in found.items()]


def remappings(camera: CameraConfig) -> list[tuple[str, str]]:
    """Return what has a driver publish where the vehicle file expects its images."""
    raw = camera.image_topic.removesuffix(TRANSPORTS[camera.transport].suffix)
    return [
        ('image_raw', raw),
        ('image_raw/compressed', f'{raw}/compressed'),
        ('camera_info', camera.sibling_topic('camera_info')),
    ]


def generate_launch_description() -> LaunchDescription:
    """Return the detector's launch file, and the drivers in its environment."""
    detector = str(Path(__file__).parent / 'orin_8cam.launch.py')
    return LaunchDescription(
        [
            *ARGUMENTS,
            IncludeLaunchDescription(PythonLaunchDescriptionSource(detector)),
            OpaqueFunction(function=cameras),
        ]
    )
