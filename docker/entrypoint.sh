#!/bin/bash
# Source ROS 2 and the package, then become the command, which then gets the signals.
set -e
. "/opt/ros/$ROS_DISTRO/setup.bash"
. /opt/yolox_trt_ros/local_setup.bash
for folder in /opt/venv/lib/python3*/site-packages; do
    export PYTHONPATH=$folder${PYTHONPATH:+:$PYTHONPATH}
done
exec "$@"
