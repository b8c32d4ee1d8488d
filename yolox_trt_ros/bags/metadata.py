"""Read metadata.yaml and quality of service, which may be damaged or hostile."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import yaml

from yolox_trt_ros.bags.names import plain
from yolox_trt_ros.bags.packing import DamageError
from yolox_trt_ros.bags.rosbags_library import interfaces
from yolox_trt_ros.bags.storage import RegularFile
from yolox_trt_ros.core.errors import BagError

NAME = 'metadata.yaml'
MOST_BYTES = 8 << 20
DEEPEST = 30
MOST_DEPTH = 2**31 - 1
"""Of a queue in QoS."""
LONGEST_S = 2**63 - 1
SafeLoader: Any = getattr(yaml, 'CSafeLoader', yaml.SafeLoader)


class Loader(SafeLoader):
    """Plain values only: merged maps could multiply, and no bag has them."""

    def flatten_mapping(self, node: Any) -> None:
        """Leave a map as it is."""


@dataclass(slots=True)
class Metadata:
    """What a bag says of itself.

    Attributes:
        files: names of its parts, in their order.
        topics: name to type and quality of service.
        count: of all messages; None if it does not say.
        mode: what was compressed: ``file``, ``message``, or an empty string.
    """

    files: list[str] = field(default_factory=list)
    topics: dict[str, tuple[str, Any]] = field(default_factory=dict)
    count: int | None = None
    mode: str = ''


def read_metadata(folder: Path) -> Metadata:
    """Return what metadata.yaml says; wrong values beside right ones are passed over.

    Raises:
        FileNotFoundError: there is none.
        DamageError: it is no metadata of a bag.
        BagError: the bag is of a compression that is not known.
    """
    file = folder / NAME
    if not file.exists() and not file.is_symlink():
        raise FileNotFoundError(file)
    source = RegularFile(file)
    try:
        raw = source.read(MOST_BYTES + 1, 0)
    finally:
        source.close()
    if len(raw) > MOST_BYTES:
        raise DamageError(f'is larger than {MOST_BYTES >> 20} MiB')
    if not raw.strip():
        raise DamageError('is empty')
    content = load_yaml(raw)
    information = content.get('rosbag2_bagfile_information') if isinstance(content, dict) else None
    if not isinstance(information, dict):
        raise DamageError('has no "rosbag2_bagfile_information"')
    return _metadata(information)


def _metadata(information: Mapping[Any, Any]) -> Metadata:
    found = Metadata()
    files = information.get('relative_file_paths')
    for name in files if isinstance(files, list) else []:
        if isinstance(name, str) and (last := PurePosixPath(PureWindowsPath(name).as_posix()).name):
            found.files.append(last)
    topics = information.get('topics_with_message_count')
    for entry in topics if isinstance(topics, list) else []:
        topic = entry.get('topic_metadata') if isinstance(entry, dict) else None
        if isinstance(topic, dict) and isinstance(topic.get('name'), str):
            kind = topic.get('type')
            kind = kind if isinstance(kind, str) else ''
            found.topics[topic['name']] = kind, topic.get('offered_qos_profiles')
    count = information.get('message_count')
    if isinstance(count, int) and not isinstance(count, bool) and count >= 0:
        found.count = count
    mode = information.get('compression_mode')
    found.mode = mode.lower() if isinstance(mode, str) and mode.lower() != 'none' else ''
    packed = information.get('compression_format')
    if found.mode and packed != 'zstd':
        raise BagError(
            f'compression "{plain(packed)}" is not supported; "ros2 bag convert" converts to zstd'
        )
    return found


def load_yaml(text: str | bytes) -> Any:
    """Return what a YAML text holds.

    Raises:
        DamageError: it is no YAML, or nested too deeply.
    """
    try:
        depth = 0
        for event in yaml.parse(text, Loader):
            depth += isinstance(event, yaml.CollectionStartEvent)
            depth -= isinstance(event, yaml.CollectionEndEvent)
            if depth > DEEPEST:
                raise DamageError(f'is nested deeper than {DEEPEST} levels')
        return yaml.load(text, Loader)
    except yaml.YAMLError as error:
        raise DamageError(f'is not YAML: {plain(" ".join(str(error).split()))}') from error
    except (ValueError, TypeError, OverflowError, UnicodeError, AttributeError) as error:
        raise DamageError(f'has an invalid value: {plain(error)}') from error


def read_qos(offered: object) -> tuple[interfaces.Qos, ...]:
    """Return what publishers offered, from YAML or its content; empty if nothing is said.

    Raises:
        DamageError: it says something else.
    """
    profiles = load_yaml(offered) if isinstance(offered, str) else offered
    if not profiles:
        return ()
    if not isinstance(profiles, list) or not all(isinstance(p, dict) for p in profiles):
        raise DamageError('its quality of service is invalid')
    return tuple(dict.fromkeys(map(_qos, profiles)))


def _qos(profile: Mapping[Any, Any]) -> interfaces.Qos:
    depth = profile.get('depth', 0)
    if not isinstance(depth, int) or not 0 <= depth <= MOST_DEPTH:
        raise DamageError(f'its queue depth {plain(depth)} is invalid')
    return interfaces.Qos(
        _choice(interfaces.QosHistory, profile.get('history')),
        depth,
        _choice(interfaces.QosReliability, profile.get('reliability')),
        _choice(interfaces.QosDurability, profile.get('durability')),
        _time(profile.get('deadline')),
        _time(profile.get('lifespan')),
        _choice(interfaces.QosLiveliness, profile.get('liveliness')),
        _time(profile.get('liveliness_lease_duration')),
        profile.get('avoid_ros_namespace_conventions') is True,
    )


def _choice(kind: Any, value: object) -> Any:
    try:
        return kind[value.upper()] if isinstance(value, str) else kind(value)
    except (KeyError, ValueError):
        return kind.UNKNOWN


def _time(value: object) -> interfaces.QosTime:
    """Return a duration; what is none counts as unlimited, which ROS writes as 0."""
    if not isinstance(value, dict):
        return interfaces.QosTime(0, 0)
    parts = value.get('sec', 0), value.get('nsec', 0)
    if not all(isinstance(part, int) and 0 <= part <= LONGEST_S for part in parts):
        return interfaces.QosTime(0, 0)
    return interfaces.QosTime(*parts)
