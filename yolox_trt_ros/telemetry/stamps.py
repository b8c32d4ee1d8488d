"""Recognise header stamps of another clock than the node's."""

from __future__ import annotations

AHEAD_NS = 1_000_000_000
"""Further ahead no stamp is of the same clock: an image is stamped before it arrives."""
BEHIND_NS = 10_000_000_000
"""Further behind no live image is."""
NEAR_NS = 60_000_000_000
"""How near to another clock a stamp has to be to count as one of that clock."""


def stamp_problem(
    stamp_ns: int, arrived_ns: int, *, sim_time: bool, uptime_ns: int, system_ns: int
) -> str:
    """Return what is wrong with the header stamp of an image that has just arrived, or ''.

    Args:
        stamp_ns: header stamp.
        arrived_ns: the node's clock at its arrival.
        sim_time: whether the node's clock is ``/clock``.
        uptime_ns: time since boot at its arrival.
        system_ns: the system clock at its arrival.
    """
    if stamp_ns == 0:
        return (
            'header stamps are zero: its driver sets none, so ages and matching by stamp are wrong'
        )
    if sim_time and arrived_ns == 0:
        return 'the node’s clock is at zero: use_sim_time is set, but no /clock has arrived'
    offset_ns = stamp_ns - arrived_ns
    if -BEHIND_NS <= offset_ns <= AHEAD_NS:
        return ''
    side = 'ahead of' if offset_ns > 0 else 'behind'
    message = f'header stamps are {_span(abs(offset_ns))} {side} the node’s clock'
    if sim_time and abs(stamp_ns - system_ns) < NEAR_NS:
        return f'{message}: they use the system clock, but the node has use_sim_time'
    if abs(stamp_ns - uptime_ns) < NEAR_NS:
        return f'{message}: they count from boot'
    if not sim_time:
        return f'{message}: a clock is not synchronised, or use_sim_time is missing in a replay'
    return f'{message}: they do not follow /clock'


def _span(ns: int) -> str:
    seconds = ns / 1e9
    for unit, length in (('days', 86_400), ('h', 3_600), ('min', 60)):
        if seconds >= 2 * length:
            return f'{seconds / length:.1f} {unit}'
    return f'{seconds:.1f} s'
