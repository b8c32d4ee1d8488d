"""The ROS 2 part: nodes, parameters, status, input and output."""
