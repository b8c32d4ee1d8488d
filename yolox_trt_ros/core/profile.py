"""Engine profiles: the time of each lane by batch size, alone and beside busy lanes."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from yolox_trt_ros.core.config import LaneConfig
from yolox_trt_ros.core.errors import ConfigError, did_you_mean
from yolox_trt_ros.core.printing import one_line, shown
from yolox_trt_ros.core.text_files import member, of_kind

MACHINES = ('', 'orin', 'xavier')


@dataclass(frozen=True, slots=True)
class Workload:
    """What a network asks of a lane for one image.

    Attributes:
        model: name of the network, and of its input size where that is no part of a file.
        gflops: 10⁹ operations, a multiply-add counted as two.
        grid_gflops: the same with channels rounded up to what INT8 kernels take at once.
        silu_share: part of the operations that SiLU follows.
    """

    model: str
    gflops: float
    grid_gflops: float
    silu_share: float


@dataclass(frozen=True, slots=True)
class LaneProfile:
    """One lane's measured cost.

    Attributes:
        device: cpu, cuda:N or dla:N.
        cost_ms: time of one call per batch size while no other lane is busy, milliseconds.
        slowdown: factor on that with 0, 1, 2 … other lanes busy; the last one holds for more.
        jitter: standard deviation of a call's time as a fraction of it.
        energy_mj: what one frame takes, millijoules; 0: unknown.
        models: the same as ``cost_ms`` of further models of a vehicle, by name.
    """

    device: str
    cost_ms: Mapping[int, float]
    slowdown: tuple[float, ...] = (1.0,)
    jitter: float = 0.0
    energy_mj: float = 0.0
    models: Mapping[str, Mapping[int, float]] = field(default_factory=dict)

    def cost_ns(self, batch: int, busy: int = 0, model: str = '') -> int:
        """Return the time of one call with ``busy`` other lanes at work, nanoseconds.

        Batch sizes between measured ones are interpolated, those outside are in proportion.
        """
        cost_ms = self.models[model] if model else self.cost_ms
        sizes = sorted(cost_ms)
        low = max((size for size in sizes if size <= batch), default=sizes[0])
        high = min((size for size in sizes if size >= batch), default=sizes[-1])
        if low == high or batch < sizes[0]:
            solo_ms = cost_ms[low] * batch / low
        else:
            part = (batch - low) / (high - low)
            solo_ms = cost_ms[low] * (1 - part) + cost_ms[high] * part
        return max(1, round(solo_ms * self.slowed(busy) * 1e6))

    def slowed(self, busy: int) -> float:
        """Return the factor that ``busy`` other lanes at work put on a call."""
        return self.slowdown[min(busy, len(self.slowdown) - 1)]


@dataclass(frozen=True, slots=True)
class Profile:
    """The lanes of one machine.

    Attributes:
        name: of the machine and its power mode.
        description: what was measured, with which model.
        sources: where the figures come from.
        lanes: by lane name.
        machine: of ``MACHINES``, if others have published times of it.
        measured_with: the network; None: unknown.
    """

    name: str
    description: str
    sources: tuple[str, ...]
    lanes: Mapping[str, LaneProfile]
    machine: str = ''
    measured_with: Workload | None = None

    def lane(self, config: LaneConfig) -> LaneProfile:
        """Return the figures for a configured lane: by its name, or else by its device.

        Raises:
            ConfigError: the profile has neither.
        """
        by_device = {lane.device: lane for lane in self.lanes.values()}
        found = self.lanes.get(config.name) or by_device.get(config.device)
        if found is None:
            raise ConfigError(
                f'profile {self.name} has no lane "{config.name}" and none on {config.device}'
                f'{did_you_mean(config.name, self.lanes)}'
            )
        return found

    def require(self, lanes: Iterable[LaneConfig], models: Collection[str]) -> None:
        """Make sure that the lanes' figures are of all of a vehicle's models.

        Raises:
            ConfigError: of one they are not; says how to get them.
        """
        for lane in lanes:
            figures = self.lane(lane)
            for model in models:
                if model and model not in figures.models:
                    raise ConfigError(
                        f'profile {self.name} has no times of the model "{model}" on lane '
                        f'{lane.name}: measure it with `profile` and this vehicle file, or add '
                        f'models: {{{model}: {{1: MILLISECONDS}}}} to the lane'
                    )

    def without_slowdown(self) -> Profile:
        """Return the same machine with lanes that do not slow each other down."""
        lanes = {name: replace(lane, slowdown=(1.0,)) for name, lane in self.lanes.items()}
        return replace(self, lanes=lanes)

    @classmethod
    def from_dict(cls, content: Any, where: str) -> Profile:
        """Return the checked profile that a YAML file holds.

        Args:
            content: the parsed file.
            where: its name, for errors.

        Raises:
            ConfigError: a key is missing, unknown, or its value is out of range.
        """
        top = _keys(content, where, {'name', 'lanes'}, _OPTIONAL)
        lanes = _keys(top['lanes'], f'{where}: lanes', set(), None)
        if not lanes:
            raise ConfigError(f'{where}: lanes: expected at least one lane')
        texts = {'description': '', 'machine': '', **top}
        sources = of_kind(top.get('sources', []), list, f'{where}: sources')
        return cls(
            member(texts, 'name', str, where),
            ' '.join(member(texts, 'description', str, where).split()),
            tuple(' '.join(of_kind(s, str, f'{where}: sources').split()) for s in sources),
            {
                of_kind(name, str, f'{where}: lanes'): _lane(
                    lane, f'{where}: lanes.{one_line(name)}'
                )
                for name, lane in lanes.items()
            },
            _machine(member(texts, 'machine', str, where), where),
            _workload(top['measured_with'], where) if 'measured_with' in top else None,
        )

    def to_dict(self) -> dict[str, Any]:
        """Return what :meth:`from_dict` reads."""
        known: dict[str, Any] = {'machine': self.machine} if self.machine else {}
        if self.measured_with:
            known['measured_with'] = asdict(self.measured_with)
        return {
            'name': self.name,
            'description': self.description,
            'sources': list(self.sources),
            **known,
            'lanes': {
                name: {
                    'device': lane.device,
                    'cost_ms': dict(lane.cost_ms),
                    'slowdown': list(lane.slowdown),
                    'jitter': lane.jitter,
                    'energy_mj': lane.energy_mj,
                    **(
                        {'models': {m: dict(c) for m, c in lane.models.items()}}
                        if lane.models
                        else {}
                    ),
                }
                for name, lane in self.lanes.items()
            },
        }


_OPTIONAL = {'description', 'sources', 'machine', 'measured_with'}


def _machine(name: str, where: str) -> str:
    if name not in MACHINES:
        expected = ' or '.join(MACHINES[1:])
        raise ConfigError(f'{where}: machine: expected {expected}, got {shown(name)}')
    return name


def _workload(value: Any, where: str) -> Workload:
    where = f'{where}: measured_with'
    needed = {'model', 'gflops'}
    keys = _keys(value, where, needed, {'grid_gflops', 'silu_share'})
    (gflops,) = _numbers([keys['gflops']], f'{where}.gflops', 1e-6, 1e6)
    grid = _numbers([keys.get('grid_gflops', gflops)], f'{where}.grid_gflops', 1e-6, 1e6)
    share = _numbers([keys.get('silu_share', 0.0)], f'{where}.silu_share', 0.0, 1.0)
    return Workload(member(keys, 'model', str, where), gflops, *grid, *share)


def _keys(value: Any, where: str, needed: set[str], optional: set[str] | None) -> Mapping[str, Any]:
    """Return ``value`` if it is a mapping with the right keys (``optional`` None: any more)."""
    if not isinstance(value, Mapping):
        raise ConfigError(f'{where}: expected keys and values, got {shown(value)}')
    for key in sorted(needed - value.keys()):
        raise ConfigError(f'{where}: "{key}" is missing')
    if optional is not None:
        for key in value.keys() - needed - optional:
            near = did_you_mean(str(key), needed | optional)
            raise ConfigError(f'{where}: unknown key {shown(key)}{near}')
    return value


def _lane(value: Any, where: str) -> LaneProfile:
    keys = _keys(value, where, {'device', 'cost_ms'}, {'slowdown', 'jitter', 'energy_mj', 'models'})
    by_size = _costs(keys['cost_ms'], f'{where}.cost_ms')
    models = {
        of_kind(name, str, f'{where}.models'): _costs(cost, f'{where}.models.{one_line(name)}')
        for name, cost in _keys(keys.get('models', {}), f'{where}.models', set(), None).items()
    }
    slowdown = keys.get('slowdown', [1.0])
    if not isinstance(slowdown, list) or not slowdown:
        raise ConfigError(f'{where}.slowdown: expected a list that begins with 1.0')
    factors = _numbers(slowdown, f'{where}.slowdown', 1.0, 1000.0)
    if factors[0] != 1.0 or factors != sorted(factors):
        raise ConfigError(
            f'{where}.slowdown: expected factors that begin with 1.0 and do not fall, '
            f'got {shown(slowdown)}'
        )
    (energy_mj,) = _numbers([keys.get('energy_mj', 0.0)], f'{where}.energy_mj', 0.0, 1e6)
    (jitter,) = _numbers([keys.get('jitter', 0.0)], f'{where}.jitter', 0.0, 1.0)
    device = member(keys, 'device', str, where)
    return LaneProfile(device, by_size, tuple(factors), jitter, energy_mj, models)


def _costs(value: Any, where: str) -> dict[int, float]:
    """Return milliseconds of a call by batch size."""
    cost = _keys(value, where, set(), None)
    if not cost or not all(type(size) is int and size >= 1 for size in cost):
        raise ConfigError(f'{where}: expected batch sizes from 1 on, got {shown(list(cost))}')
    costs = _numbers(cost.values(), where, 1e-3, 1e6)
    return {int(size): cost_ms for size, cost_ms in zip(cost, costs, strict=True)}


def _numbers(values: Iterable[Any], where: str, low: float, high: float) -> list[float]:
    result = []
    for value in values:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_number or not low <= value <= high:
            raise ConfigError(
                f'{where}: expected numbers from {low:g} to {high:g}, got {shown(value)}'
            )
        result.append(float(value))
    return result
