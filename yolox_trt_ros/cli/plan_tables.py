"""A plan as tables."""

from __future__ import annotations

from typing import Any

from rich.box import SIMPLE
from rich.table import Table

from yolox_trt_ros.cli.console import Console, Text
from yolox_trt_ros.core.printing import one_line
from yolox_trt_ros.core.profile import Profile


def print_plan(console: Console, plan: dict[str, Any], profile: Profile) -> None:
    """Print the plan as tables."""
    name = Text(one_line(profile.name), 'bold')
    console.print(name.append(f': {one_line(profile.description)}', 'not bold'))
    if 'model' in plan:
        _print_model(console, plan['model'])
    for name, about in plan.get('models', {}).items():
        console.print(f'model {name}:')
        _print_model(console, about)
    console.print(plan['placement_reason'])
    table = _table('latency at 50, 95, 99 % and age of information at 50, 99, 100 % in ms')
    for head in ('camera', 'lane'):
        table.add_column(head, no_wrap=True)
    for head in ('Hz', 'prio', 'due', 'latency', 'age', 'drop', 'max Hz'):
        table.add_column(head, justify='right', no_wrap=True)
    for name, row in plan['cameras'].items():
        latency, age = row['latency_ms'], row['age_ms']
        table.add_row(
            name,
            next(iter(row['ran_on']), '–'),
            f'{row["rate_hz"]:g}',
            f'{row["priority"]:g}',
            f'{row["deadline_ms"]:g}' if row['deadline_ms'] else '–',
            ' '.join(_ms(latency[level]) for level in ('p50', 'p95', 'p99')),
            ' '.join(_ms(age[level]) for level in ('p50', 'p99', 'max')),
            str(sum(row['dropped'].values())),
            f'{row["max_rate_hz"]:.0f}',
        )
    console.print(table)
    for name, row in plan['cameras'].items():
        if 'crops' in row:
            parts = ', '.join(map(one_line, row['crops']['parts']))
            console.print(f'{name}: {row["crops"]["hz"]:.1f} crops/s beside its images ({parts})')
    table = _table('lanes')
    for head in ('lane', 'busy', 'results/s', 'mJ/frame', 'if it fails'):
        table.add_column(head, justify='left' if head in ('lane', 'if it fails') else 'right')
    for name, row in plan['lanes'].items():
        failure = plan['without_lane'].get(name)
        used = f'{row["utilisation"]:.0%}'
        energy = f'{row["energy_mj"]:g}' if row['energy_mj'] else '–'
        table.add_row(name, used, f'{row["results_hz"]:.1f}', energy, _failure(failure))
    console.print(table)
    if plan['energy_w']:
        console.print(f'energy of all frames: {plan["energy_w"]:.2f} W')
    most, bound = plan['max_uniform_rate_hz'], plan['fluid_bound_hz']
    console.print(
        f'all cameras at one rate: {most:.1f} Hz; no schedule can do more than {bound:.1f} Hz'
    )


def _print_model(console: Console, about: dict[str, Any]) -> None:
    if not about['estimated_lanes']:
        console.print(f'measured with {about["model"]} itself')
        return
    console.print(
        f'{about["model"]}: ESTIMATED, the profile was measured with {about["measured_with"]}'
    )
    for name, lane in about['estimated_lanes'].items():
        console.print(f'  {name}: x {lane["factor"]:.2f}; off published times: {lane["off"]}')


def _table(title: str) -> Table:
    return Table(
        title=title, title_justify='left', box=SIMPLE, pad_edge=False, collapse_padding=True
    )


def _ms(value: float | None) -> str:
    return '–' if value is None else f'{value:.1f}' if value < 100 else f'{value:.0f}'


def _failure(failure: dict[str, Any] | None) -> str:
    if failure is None:
        return 'nothing is left'
    if not failure['missing']:
        return 'every camera keeps its rate'
    lost = ', '.join(f'{n} {row["results_hz"]:g} Hz' for n, row in failure['missing'].items())
    return f'{failure["drop_ratio"]:.0%} dropped; left: {lost}'
