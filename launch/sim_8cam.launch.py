"""Eight simulated cameras and the detector, on a machine that has neither camera nor GPU.

    ros2 launch yolox_trt_ros sim_8cam.launch.py

Takes the arguments of ``orin_8cam.launch.py`` and what the cameras show. When the cameras end,
the detector is stopped as well. With ``ingest:=simulated`` they play inside the detector's process.
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
from launch_ros.actions import Node

from yolox_trt_ros.core.resources import find_resource

VEHICLES, SUFFIX = 'config/vehicles', '.param.yaml'

ARGUMENTS = [
    DeclareLaunchArgument(
        'vehicle',
        default_value='laptop_8cam',
        description='Cameras and lanes: path of a parameter file, or the name of a packaged one.',
    ),
    DeclareLaunchArgument(
        'source',
        default_value='',
        description='What the cameras show: a folder of images, a video file, or "world" for the '
        'rendered street; empty: what the vehicle file says.',
    ),
]


def cameras(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    """Return the simulated cameras that the arguments ask for."""
    chosen = context.launch_configurations
    if chosen['ingest'] == 'simulated':
        return []
    overrides = {'use_sim_time': chosen['use_sim_time'] == 'true'}
    if chosen['source']:
        overrides['sim.source'] = str(chosen['source'])
    vehicle = find_resource(VEHICLES, chosen['vehicle'], SUFFIX)
    logger = '.'.join([*filter(None, chosen['namespace'].split('/')), 'camera_sim'])
    settings = ['--dds', 'none'] if chosen['dds'] == 'none' else []
    return [
        Node(
            package='yolox_trt_ros',
            executable='camera_sim',
            name='camera_sim',
            namespace=chosen['namespace'],
            parameters=[str(vehicle.absolute()), overrides],
            arguments=[*settings, '--ros-args', '--log-level', f'{logger}:={chosen["log_level"]}'],
            output='screen',
            emulate_tty=True,
            on_exit=Shutdown(reason='the cameras ended'),
        )
    ]


def generate_launch_description() -> LaunchDescription:
    """Return the detector's launch file, and the cameras in its environment."""
    detector = str(Path(__file__).parent / 'orin_8cam.launch.py')
    return LaunchDescription(
        [
            *ARGUMENTS,
            IncludeLaunchDescription(PythonLaunchDescriptionSource(detector)),
            OpaqueFunction(function=cameras),
        ]
    )
