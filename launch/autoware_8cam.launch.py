"""The detector in place of Autoware's: its image topics in, its ``rois0`` … ``rois7`` out.

    ros2 launch yolox_trt_ros autoware_8cam.launch.py model:=yolox-tiny.onnx labels:=label.txt \
        class_map:=roi_label_remap.csv

One node for all cameras. Takes the arguments of ``orin_8cam.launch.py`` as well; docs/autoware.md
is the guide.
"""

from pathlib import Path

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource

ARGUMENTS = [
    DeclareLaunchArgument(
        'vehicle',
        default_value='autoware_8cam',
        description='Cameras, their topics, and lanes: path of a parameter file, such as one that '
        '"parameters --from-autoware" wrote, or the name of a packaged one.',
    ),
    DeclareLaunchArgument(
        'class_map',
        default_value='',
        description='Autoware’s roi_label_remap.csv, which gives the model’s classes its numbers; '
        'empty: as the vehicle file says.',
    ),
    DeclareLaunchArgument(
        'build_only',
        default_value='',
        choices=['', 'true', 'false'],
        description='Build the engines that the lanes lack, then end; empty: as the vehicle file '
        'says.',
    ),
]


def generate_launch_description() -> LaunchDescription:
    """Return the detector's launch file with Autoware's vehicle."""
    detector = str(Path(__file__).parent / 'orin_8cam.launch.py')
    return LaunchDescription(
        [*ARGUMENTS, IncludeLaunchDescription(PythonLaunchDescriptionSource(detector))]
    )
