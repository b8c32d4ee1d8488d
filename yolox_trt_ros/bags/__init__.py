"""Recorded drives: rosbag2 in both storages and all compressions, through the rosbags library.

Nothing here needs ROS. Messages pass as they were recorded; they are parsed only when asked for.
"""
