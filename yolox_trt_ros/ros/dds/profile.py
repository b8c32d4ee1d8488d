"""Read what a process's Fast DDS participants get from XML profile and environment."""

from __future__ import annotations

import os
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from xml.etree.ElementTree import Element

from yolox_trt_ros.core.errors import ConfigError

BUILTIN_VARIABLE = 'FASTDDS_BUILTIN_TRANSPORTS'
FAST_DDS_2_DISTROS = ('humble', 'iron', 'jazzy')

DEFAULT_SEGMENT = 512 << 10
"""Bytes of the shared-memory segment that a participant has without a profile."""

LARGE_DATA_SEGMENT = 8500 << 10
"""The same of Fast DDS 3 where the builtin transports are those for large data, and no socket size
is given."""

_UNITS = {'': 1, 'B': 1, 'KB': 10**3, 'MB': 10**6, 'GB': 10**9}
_UNITS |= {'KIB': 1 << 10, 'MIB': 1 << 20, 'GIB': 1 << 30}


@dataclass(frozen=True, slots=True)
class DdsTransport:
    """How a participant sends and receives.

    Attributes:
        segment: of shared memory, bytes; 0: it sends nothing that way.
        socket_buffer: what it asks the kernel for to receive by UDP, bytes; 0: nothing, it takes
            the system's default.
    """

    segment: int
    socket_buffer: int = 0


def is_fast_dds_2(environ: Mapping[str, str]) -> bool:
    """Return whether a process with this environment gets Fast DDS 2, not 3."""
    if distro := environ.get('ROS_DISTRO'):
        return distro in FAST_DDS_2_DISTROS
    # The wheels of ROS 2 name no distribution; Fast DDS was called Fast RTPS until its version 3.
    prefixes = environ.get('AMENT_PREFIX_PATH', '').split(os.pathsep)
    return any(Path(prefix, 'share', 'fastrtps').is_dir() for prefix in prefixes if prefix)


def read_transport(profile: str, environ: Mapping[str, str]) -> DdsTransport:
    """Return what participants of a process get.

    Only a participant's profile with ``is_default_profile="true"`` counts: ROS asks for no other.

    Args:
        profile: XML file that the environment names; empty: none.
        environ: the process's environment.

    Raises:
        ConfigError: the profile cannot be read.
    """
    large = DEFAULT_SEGMENT if is_fast_dds_2(environ) else LARGE_DATA_SEGMENT
    builtin = _builtin(environ.get(BUILTIN_VARIABLE, ''), large)
    if not profile:
        return builtin
    try:
        root = ElementTree.parse(profile).getroot()
        participants = [
            e
            for e in _all(root, 'participant')
            if e.get('is_default_profile', '').strip() in ('true', '1')
        ]
        return _of_participant(root, participants[-1], builtin, large) if participants else builtin
    except (OSError, ValueError, ElementTree.ParseError) as error:
        raise ConfigError(f'cannot read the Fast DDS profile {profile}: {error}') from error


def _of_participant(
    root: Element, participant: Element, builtin: DdsTransport, large: int
) -> DdsTransport:
    for element in _all(participant, 'builtinTransports'):
        options = '&'.join(f'{name}={value}' for name, value in element.attrib.items())
        builtin = _builtin(f'{(element.text or "").strip()}?{options}', large)
    used = {
        (e.text or '').strip()
        for users in _all(participant, 'userTransports')
        for e in _all(users, 'transport_id')
    }
    chosen = [d for d in _all(root, 'transport_descriptor') if _text(d, 'transport_id') in used]
    shared = [d for d in chosen if _text(d, 'type') == 'SHM']
    segments = [int(_text(d, 'segment_size') or DEFAULT_SEGMENT) for d in shared]
    buffers = [int(_text(d, 'receiveBufferSize') or 0) for d in chosen]
    if _text(participant, 'useBuiltinTransports') not in ('false', '0'):
        segments.append(builtin.segment)
        buffers.append(builtin.socket_buffer)
    return DdsTransport(max(segments, default=0), max(buffers, default=0))


def _builtin(value: str, large: int) -> DdsTransport:
    """Return what the builtin transports are, as ``LARGE_DATA?sockets_size=4MB`` says.

    As ``RTPSParticipantAttributes.cpp`` of Fast DDS has it: a segment is twice the sockets' size.

    Args:
        value: of the environment's variable, or made of the profile's element.
        large: bytes of the segment where the transports are those for large data.
    """
    mode, _, options = value.partition('?')
    sockets = 0
    if found := re.search(r'sockets_size=(\d+)(\w*)', options):
        sockets = int(found[1]) * _UNITS.get(found[2].upper(), 1)
    if mode in ('NONE', 'UDPv4', 'UDPv6'):
        return DdsTransport(0, sockets)
    segment = large if mode.startswith('LARGE_DATA') or mode == 'P2P' else DEFAULT_SEGMENT
    return DdsTransport(2 * sockets or segment, sockets)


def _all(parent: Element, tag: str) -> list[Element]:
    """Return every element of that name below another, whatever its namespace."""
    return [e for e in parent.iter() if e.tag.rpartition('}')[2] == tag]


def _text(parent: Element, tag: str) -> str:
    return next(((e.text or '').strip() for e in _all(parent, tag)), '')
