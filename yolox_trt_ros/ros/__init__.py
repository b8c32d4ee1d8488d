"""The ROS 2 shell: parameters, codecs and nodes."""
