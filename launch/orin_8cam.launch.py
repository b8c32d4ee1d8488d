"""The detector for a vehicle's cameras: up to eight image topics in, Detection2DArray out.

    ros2 launch yolox_trt_ros orin_8cam.launch.py vehicle:=orin_8cam

The detector is a lifecycle node that configures and activates itself; with ``autostart:=false``
it waits for ``ros2 lifecycle set /detector configure`` or for the vehicle's lifecycle manager.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from launch import LaunchContext, LaunchDescription, LaunchDescriptionEntity
from launch.actions import DeclareLaunchArgument, OpaqueFunction, SetEnvironmentVariable
from launch_ros.actions import Node

from yolox_trt_ros.core.errors import ConfigError, did_you_mean
from yolox_trt_ros.core.resources import find_resource, resource_names
from yolox_trt_ros.ros.dds.settings import environment

VEHICLES, SUFFIX = 'config/vehicles', '.param.yaml'
SWITCH = ['true', 'false']
# Arguments that override a parameter of the vehicle file unless they are empty; "source" is one of
# sim_8cam.launch.py, for cameras simulated in the detector's process, "class_map" and "build_only"
# are of autoware_8cam.launch.py.
PARAMETERS = {
    'model': 'model.path',
    'labels': 'model.labels',
    'class_map': 'model.class_map',
    'ingest': 'ingest',
    'source': 'sim.source',
}
LEVELS = ['debug', 'info', 'warn', 'error', 'fatal']

ARGUMENTS = [
    DeclareLaunchArgument(
        'vehicle',
        default_value='orin_8cam',
        description='Cameras, lanes and limits: path of a parameter file, or the name of a '
        f'packaged one ({", ".join(resource_names(VEHICLES, SUFFIX))}).',
    ),
    DeclareLaunchArgument(
        'model',
        default_value='',
        description='ONNX file or name of a packaged model; empty: the one of the vehicle file.',
    ),
    DeclareLaunchArgument(
        'labels',
        default_value='',
        description='Class names of that model, one a line; empty: the file beside it.',
    ),
    DeclareLaunchArgument(
        'namespace',
        default_value='',
        description='Namespace of the nodes. Camera topics stay as the vehicle file says.',
    ),
    DeclareLaunchArgument(
        'use_sim_time',
        default_value='false',
        choices=SWITCH,
        description='Take the time from /clock, as in a replay.',
    ),
    DeclareLaunchArgument(
        'autostart',
        default_value='true',
        choices=SWITCH,
        description='Configure and activate the detector when it starts.',
    ),
    DeclareLaunchArgument(
        'ingest',
        default_value='',
        choices=['', 'auto', 'plain', 'simulated', 'replayed'],
        description='Source of the images: messages (auto, plain), or simulated cameras or a '
        'replayed bag inside the detector; empty: as the vehicle file says.',
    ),
    DeclareLaunchArgument(
        'lockstep',
        default_value='',
        choices=['', *SWITCH],
        description='Process every image and drop none for a newer one, as in a replay; empty: as '
        'the vehicle file says.',
    ),
    DeclareLaunchArgument(
        'overlay',
        default_value='false',
        choices=SWITCH,
        description='Run the overlay node, which draws detections while somebody looks: '
        '<camera>/overlay and overlay below the detector, and the same with /compressed.',
    ),
    DeclareLaunchArgument(
        'rviz',
        default_value='false',
        choices=SWITCH,
        description='Open RViz with the overlays of all cameras, laid out as on the car, and run '
        'the overlay node. For the cameras of orin_8cam, without a namespace.',
    ),
    DeclareLaunchArgument(
        'log_level',
        default_value='info',
        choices=LEVELS,
        description='Lowest severity that is logged.',
    ),
    DeclareLaunchArgument(
        'dds',
        default_value='auto',
        description='Middleware settings: auto (those of config/dds for the middleware in use, '
        'unless the environment names its own), none, or an XML file (path or name in config/dds).',
    ),
]


def nodes(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    """Return the actions that the arguments ask for."""
    chosen = context.launch_configurations
    overrides: dict[str, bool | str] = {
        'use_sim_time': chosen['use_sim_time'] == 'true',
        'autostart': chosen['autostart'] == 'true',
    }
    for switch in ('lockstep', 'build_only'):
        if chosen.get(switch):
            overrides[switch] = chosen[switch] == 'true'
    for argument, parameter in PARAMETERS.items():
        if chosen.get(argument):
            overrides[parameter] = chosen[argument]
    if chosen['ingest'] == 'replayed' and 'bag' in chosen:
        # The detector plays it itself, and nobody publishes /clock.
        overrides |= {'bag': chosen['bag'], 'use_sim_time': False}
    settings = environment(chosen['dds'], context.environment)
    actions: list[LaunchDescriptionEntity] = [
        *(SetEnvironmentVariable(*item) for item in settings.items()),
        own_node(chosen, 'detector_node', 'detector', overrides),
    ]
    rviz = chosen['rviz'] == 'true'
    if rviz or chosen['overlay'] == 'true':
        time = {'use_sim_time': overrides['use_sim_time']}
        actions.append(own_node(chosen, 'overlay', 'overlay', time))
    if rviz:
        layout = find_resource('config/rviz', 'orin_8cam', '.rviz').absolute()
        actions.append(
            Node(package='rviz2', executable='rviz2', name='rviz2', arguments=['-d', str(layout)])
        )
    return actions


def own_node(
    chosen: Mapping[str, str], executable: str, name: str, overrides: Mapping[str, Any]
) -> Node:
    """Return a node of this package that reads the vehicle's file."""
    logger = '.'.join([*filter(None, chosen['namespace'].split('/')), name])
    settings = ['--dds', 'none'] if chosen['dds'] == 'none' else []
    return Node(
        package='yolox_trt_ros',
        executable=executable,
        name=name,
        namespace=chosen['namespace'],
        parameters=[str(vehicle_file(chosen['vehicle'])), overrides],
        arguments=[*settings, '--ros-args', '--log-level', f'{logger}:={chosen["log_level"]}'],
        output='screen',
        emulate_tty=True,
    )


def vehicle_file(vehicle: str) -> Path:
    """Return the parameter file that the argument means."""
    file = find_resource(VEHICLES, vehicle, SUFFIX)
    if not file.is_file():
        near = did_you_mean(vehicle, resource_names(VEHICLES, SUFFIX))
        raise ConfigError(f'vehicle: there is no file "{vehicle}"{near}')
    return file.absolute()


def generate_launch_description() -> LaunchDescription:
    """Return the declared arguments and what is started with them."""
    return LaunchDescription([*ARGUMENTS, OpaqueFunction(function=nodes)])
