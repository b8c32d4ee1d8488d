"""Check whether Fast DDS can carry a camera's images from its publisher to here."""

from __future__ import annotations

from rclpy.node import Node
from rclpy.topic_endpoint_info import TopicEndpointInfo
from rclpy.utilities import get_rmw_implementation_identifier

from yolox_trt_ros.core.config import CameraConfig
from yolox_trt_ros.core.resources import find_resource
from yolox_trt_ros.ros.dds import settings
from yolox_trt_ros.ros.dds.segments import largest_of, largest_other
from yolox_trt_ros.ros.dds.settings import mib
from yolox_trt_ros.ros.input.intake import IngestNotes

HOST = slice(0, 4)
PROCESS = slice(0, 8)
PID = slice(4, 6)
"""Where a GUID of Fast DDS says who it belongs to (``GuidUtils`` there): vendor and machine, the
process on it, and of that the number's lower half, little endian."""

EMPTY = bytes(16)
UNKNOWN = '_NODE_NAME_UNKNOWN_'
"""What rcl calls the nodes of publishers outside ROS, and those that it has just found."""


class PublisherWatch:
    """Judges a camera's publishers by its largest image, whenever they or that image are new.

    Args:
        node: the subscriber.
    """

    def __init__(self, node: Node) -> None:
        self._node = node
        self._judged: dict[str, tuple[object, int]] = {}

    def look(self, camera: CameraConfig, notes: IngestNotes) -> None:
        """Note what will lose a camera's images."""
        if get_rmw_implementation_identifier() not in settings.FAST_DDS:
            return
        size = notes.image_bytes or settings.least_bytes(camera)
        publishers = self._node.get_publishers_info_by_topic(camera.image_topic)
        known = bool(notes.image_bytes), sorted(map(_gid, publishers))
        judged, largest = self._judged.get(camera.name, (None, 0))
        # No two compressed images have the same size.
        if not publishers:
            notes.publisher = ''
            self._judged.pop(camera.name, None)
            return
        if judged == known and size <= largest:
            return
        self._judged[camera.name] = known, size
        notes.publisher = self._judge(publishers, camera, size)
        if notes.publisher and not notes.image_bytes:
            said = 'from the configuration'
            if not settings.image_bytes(camera):
                said = f'at least that; set cameras.{camera.name}.encoding, width and height'
            notes.publisher += f' (no image yet: the size is {said})'

    def _judge(self, publishers: list[TopicEndpointInfo], camera: CameraConfig, size: int) -> str:
        own = next(
            (
                _gid(s)
                for s in self._node.get_subscriptions_info_by_topic(camera.image_topic)
                if s.node_name == self._node.get_name()
                and s.node_namespace == self._node.get_namespace()
            ),
            EMPTY,
        )
        if own == EMPTY:
            return ''  # nothing to distinguish machines by
        unnamed = f'the publisher of {camera.image_topic}'
        reasons = (
            why_lossy(unnamed if p.node_name == UNKNOWN else p.node_name, _gid(p), own, size)
            for p in publishers
        )
        return next(filter(None, reasons), '')


def why_lossy(name: str, publisher: bytes, own: bytes, size: int) -> str:
    """Return why a publisher's images will be lost in transit; '' if nothing is known.

    Args:
        name: of the publisher's node.
        publisher, own: GUIDs of the publisher and of a subscription of this process.
        size: of one image, bytes.
    """
    if publisher[PROCESS] == own[PROCESS]:
        return ''
    if publisher[HOST] == own[HOST]:
        return _why_lossy_here(name, int.from_bytes(publisher[PID], 'little'), size)
    try:
        buffer = settings.socket_bytes()
    except (OSError, ValueError):
        return ''
    if buffer >= size:
        return ''
    return (
        f'{name} is on another machine, images have {mib(size)} and sockets here hold '
        f'{mib(buffer)}: {settings.SOCKET_REMEDY}, with the DDS settings of this package, and '
        'better send compressed images'
    )


def _why_lossy_here(name: str, pid: int, size: int) -> str:
    largest = largest_of(pid)
    whose = f'{name} has'
    if largest is None:
        largest, whose = largest_other(), f'no process but this one, so not {name}, has more than'
    if largest >= size:
        return ''
    profile = find_resource('config/dds', 'fastdds_8cam', '.xml').absolute()
    return (
        f'{whose} {mib(largest)} of shared memory here, images have {mib(size)}: start '
        f'{name} with {settings.profile_variable(get_rmw_implementation_identifier())}={profile}; '
        'in a container also with --ipc=host'
    )


def _gid(endpoint: TopicEndpointInfo) -> bytes:
    return bytes(endpoint.endpoint_gid)[: len(EMPTY)]
