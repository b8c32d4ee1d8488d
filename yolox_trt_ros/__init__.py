"""YOLOX perception for vehicles: many cameras, several engines, one ROS 2 node."""

from pkgutil import extend_path

__version__ = '0.1.0'

# Run from a checkout, the sources come before the installed package, which has the messages.
__path__ = extend_path(__path__, __name__)
