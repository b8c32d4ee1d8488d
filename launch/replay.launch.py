"""A recorded drive through the detector: the cameras come from a bag.

    ros2 launch yolox_trt_ros replay.launch.py bag:=/bags/crossing vehicle:=my_car.param.yaml

Takes the arguments of ``orin_8cam.launch.py`` and how the bag is played. Time is recording time
(``use_sim_time``), unless told otherwise. In lockstep, which is the default, every image is
processed however slow the machine is. When the bag ends, everything is stopped. With
``ingest:=replayed`` the detector itself plays the whole bag's cameras, without messages, and goes
on when it ends.
"""

from pathlib import Path

from ament_index_python.packages import get_package_prefix
from launch import LaunchContext, LaunchDescription, LaunchDescriptionEntity
from launch.actions import (
    DeclareLaunchArgument,
    ExecuteProcess,
    IncludeLaunchDescription,
    OpaqueFunction,
    Shutdown,
)
from launch.launch_description_sources import PythonLaunchDescriptionSource

from yolox_trt_ros.core.resources import find_resource

VEHICLES, SUFFIX = 'config/vehicles', '.param.yaml'
SWITCH = ['true', 'false']

ARGUMENTS = [
    DeclareLaunchArgument('bag', description='Folder of the bag, or its .mcap or .db3 file.'),
    DeclareLaunchArgument(
        'lockstep',
        default_value='true',
        choices=SWITCH,
        description='Whether the next image of a camera goes out when the last one was answered; '
        'false: at the times of the recording, as on the road.',
    ),
    DeclareLaunchArgument(
        'rate', default_value='1.0', description='Speed, where it is not lockstep.'
    ),
    DeclareLaunchArgument(
        'loop', default_value='false', choices=SWITCH, description='Whether it begins again.'
    ),
    DeclareLaunchArgument(
        'start', default_value='0.0', description='Seconds left out at the beginning of the bag.'
    ),
    DeclareLaunchArgument(
        'duration', default_value='inf', description='Seconds of the bag that are played.'
    ),
    DeclareLaunchArgument(
        'remap',
        default_value='',
        description='Recorded topics under other names, such as "/cam0:=/front/image_raw", with '
        'spaces between several.',
    ),
    DeclareLaunchArgument(
        'use_sim_time',
        default_value='true',
        choices=SWITCH,
        description='Whether time is that of the recording, published on /clock.',
    ),
]


def player(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    """Return the player that the arguments ask for."""
    chosen = context.launch_configurations
    if chosen['ingest'] == 'replayed':
        return []
    vehicle = find_resource(VEHICLES, chosen['vehicle'], SUFFIX).absolute()
    program = Path(get_package_prefix('yolox_trt_ros'), 'lib/yolox_trt_ros/replay')
    detector = '/'.join(['', *filter(None, chosen['namespace'].split('/')), 'detector'])
    words = [str(program), chosen['bag'], '--vehicle', str(vehicle), '--detector', detector]
    words += ['--start', chosen['start'], '--duration', chosen['duration']]
    words += ['--lockstep'] if chosen['lockstep'] == 'true' else ['--rate', chosen['rate']]
    words += [f'--{name}' for name in ('loop',) if chosen[name] == 'true']
    words += ['--clock'] if chosen['use_sim_time'] == 'true' else []
    words += ['--remap', *chosen['remap'].split()] if chosen['remap'] else []
    return [
        ExecuteProcess(
            cmd=words,
            name='replay',
            output='screen',  # not as a terminal: its progress bar is for those
            on_exit=Shutdown(reason='the bag ended'),
        )
    ]


def generate_launch_description() -> LaunchDescription:
    """Return the detector's launch file, and the player in its environment."""
    detector = str(Path(__file__).parent / 'orin_8cam.launch.py')
    return LaunchDescription(
        [
            *ARGUMENTS,
            IncludeLaunchDescription(PythonLaunchDescriptionSource(detector)),
            OpaqueFunction(function=player),
        ]
    )
