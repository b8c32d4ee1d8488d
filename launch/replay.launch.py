"""A recorded drive through the detector: the cameras come from a bag.

    ros2 launch yolox_trt_ros replay.launch.py bag:=/bags/crossing vehicle:=my_car.param.yaml

Takes the arguments of ``orin_8cam.launch.py`` and how the bag is played. Time is recording time
(``use_sim_time``) by default. In lockstep, which is the default, every image is
processed however slow the machine is. When the bag ends, everything is stopped. With
``ingest:=replayed`` the detector itself plays the whole bag's cameras, once, at the recorded speed
or in lockstep, without messages or ``/clock``, and goes on when it ends; what asks for anything
else is refused.
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

from yolox_trt_ros.core.errors import ConfigError
from yolox_trt_ros.core.resources import find_resource

VEHICLES, SUFFIX = 'config/vehicles', '.param.yaml'
SWITCH = ['true', 'false']
# What only the player can do, and the value that asks for nothing.
PLAYER_ONLY = {'rate': '1.0', 'loop': 'false', 'start': '0.0', 'duration': 'inf', 'remap': ''}

ARGUMENTS = [
    DeclareLaunchArgument('bag', description='Folder of the bag, or its .mcap or .db3 file.'),
    DeclareLaunchArgument(
        'lockstep',
        default_value='true',
        choices=SWITCH,
        description='Play the next image of a camera when the last one was answered; false: play '
        'at the times of the recording.',
    ),
    DeclareLaunchArgument(
        'rate',
        default_value=PLAYER_ONLY['rate'],
        description='Speed; only without lockstep.',
    ),
    DeclareLaunchArgument(
        'loop',
        default_value=PLAYER_ONLY['loop'],
        choices=SWITCH,
        description='Start again at the end of the bag.',
    ),
    DeclareLaunchArgument(
        'start',
        default_value=PLAYER_ONLY['start'],
        description='Skip so many seconds at the beginning of the bag.',
    ),
    DeclareLaunchArgument(
        'duration',
        default_value=PLAYER_ONLY['duration'],
        description='Play so many seconds of the bag.',
    ),
    DeclareLaunchArgument(
        'remap',
        default_value=PLAYER_ONLY['remap'],
        description='Other names for recorded topics, such as "/cam0:=/front/image_raw", separated '
        'by spaces.',
    ),
    DeclareLaunchArgument(
        'use_sim_time',
        default_value='true',
        choices=SWITCH,
        description='Publish the time of the recording on /clock and use it.',
    ),
]


def refuse_without_effect(context: LaunchContext) -> None:
    """Refuse what is asked of the player where there is none, before anything starts."""
    chosen = context.launch_configurations
    if chosen.get('ingest') != 'replayed':
        return
    asked = [
        f'{name}:={chosen[name]}'
        for name, default in PLAYER_ONLY.items()
        if not same(chosen[name], default)
    ]
    if asked:
        raise ConfigError(
            f'{", ".join(asked)}: no effect with ingest:=replayed, where the detector plays the '
            'whole bag once at its own speed or in lockstep; leave it out, or leave out '
            'ingest:=replayed'
        )


def same(value: str, default: str) -> bool:
    """Return whether two values mean the same, such as 1 and 1.0."""
    try:
        return float(value) == float(default)
    except ValueError:
        return value.strip() == default


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
    words += ['--dds', 'none'] if chosen['dds'] == 'none' else []
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
            OpaqueFunction(function=refuse_without_effect),
            IncludeLaunchDescription(PythonLaunchDescriptionSource(detector)),
            OpaqueFunction(function=player),
        ]
    )
