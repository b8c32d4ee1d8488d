"""Precision, memory, batch norms, average, schedule."""

import math

import pytest

torch = pytest.importorskip('torch', reason='pip install torch')

from tiny_run import SPEC, settings  # noqa: E402
from torch import nn  # noqa: E402

from yolox_trt_ros.core.errors import ConfigError  # noqa: E402
from yolox_trt_ros.training.learning import batchnorm  # noqa: E402
from yolox_trt_ros.training.learning.average import Average  # noqa: E402
from yolox_trt_ros.training.learning.memory import checkpointed, fitting  # noqa: E402
from yolox_trt_ros.training.learning.precision import (  # noqa: E402
    Precision,
    largest_gradients,
)
from yolox_trt_ros.training.learning.schedule import LAST_SHARE, rate  # noqa: E402
from yolox_trt_ros.training.learning.step import Objective  # noqa: E402
from yolox_trt_ros.training.results.agreement import agreed  # noqa: E402
from yolox_trt_ros.training.runs.fit import fitted, step_bytes  # noqa: E402
from yolox_trt_ros.training.runs.ranks import Ranks  # noqa: E402
from yolox_trt_ros.training.runs.settings import settings_of  # noqa: E402

ALONE = Ranks(0, 1, 'cpu')


def test_a_gradient_that_is_infinite_halves_the_scale_and_changes_nothing():
    weight = nn.Parameter(torch.ones(2))
    optimiser = torch.optim.SGD([weight], lr=0.1)
    precision = Precision('cpu', 'fp16')
    first = precision.scale
    precision.backward((weight * torch.tensor([math.inf, 1.0])).sum())
    assert not precision.step(optimiser, [weight])
    assert (precision.scale, precision.skipped) == (first / 2, 1)
    assert weight.tolist() == [1.0, 1.0]
    name, size = next(iter(largest_gradients([('layer', weight)]).items()))
    assert name == 'layer' and not math.isfinite(size)
    optimiser.zero_grad()
    precision.backward((weight * torch.tensor([2.0, 1.0])).sum())
    assert precision.step(optimiser, [weight])
    assert weight.tolist() == pytest.approx([0.8, 0.9])
    again = Precision('cpu', 'fp16')
    again.load(precision.state())
    assert (again.scale, again.skipped) == (first / 2, 1)


@pytest.mark.parametrize('name', ['bf16', 'fp16', 'fp32'])
def test_the_loss_is_about_the_same_in_every_precision(name):
    torch.manual_seed(0)
    network = SPEC.build()
    picture, labels = torch.rand(2, 3, *SPEC.size) * 255, torch.full((2, 3, 6), -1.0)
    labels[:, 0] = torch.tensor([1.0, 10, 10, 40, 40, 0])
    losses = [
        Objective(SPEC.size, 'cpu', Precision('cpu', p))(network, picture, labels, 1.0)['total']
        for p in ('fp32', name)
    ]
    assert float(losses[1].detach()) == pytest.approx(float(losses[0].detach()), rel=0.02)
    assert losses[1].dtype == torch.float32


def test_the_rate_warms_up_and_falls():
    rates = [rate(k, 200, 20) for k in range(200)]
    assert rates[:20] == sorted(rates[:20]) and rates[20:] == sorted(rates[20:], reverse=True)
    assert max(rates) == 1.0 and rates[-1] == pytest.approx(LAST_SHARE, abs=1e-3)


def test_the_average_follows_the_weights_and_forgets_the_first():
    network = nn.Linear(1, 1, bias=False)
    nn.init.constant_(network.weight, 0.0)
    average = Average(network, steps=100)
    with torch.no_grad():
        for k in range(100):
            network.weight.fill_(float(k >= 50))
            average.update()
    assert 0.98 < float(average.network.weight) <= 1.0


@pytest.mark.parametrize(
    ('limit', 'batch', 'twice'), [(100, 64, False), (40, 32, False), (12, 8, False), (6, 4, True)]
)
def test_the_largest_batch_that_fits_is_found(limit, batch, twice):
    # A picture takes 1, or 0.6 with stages computed twice; the network 2.
    fit = fitting(lambda b, c: int(b * (0.6 if c else 1) + 2), limit, 64)
    assert (fit.batch, fit.checkpointing) == (batch, twice)


def test_what_fits_in_no_memory_is_reported():
    def never(batch: int, twice: bool) -> int:
        raise torch.OutOfMemoryError

    with pytest.raises(ConfigError, match='a step with one picture takes more than'):
        fitting(never, 1, 8)


def test_a_small_memory_takes_a_batch_in_parts():
    wanted = settings(batch=16)
    whole, one = (step_bytes(wanted, 'cpu', b, False) for b in (16, 1))
    assert step_bytes(wanted, 'cpu', 4, True) < step_bytes(wanted, 'cpu', 4, False)
    found, said = fitted(wanted, ALONE, (one + (whole - one) * 0.7) / 2**30)
    assert (found.batch, found.parts, found.checkpointing) == (16, 2, False)
    assert said.startswith('memory: 8 pictures at once, 2 times a step')


def test_stages_that_are_computed_twice_compute_the_same():
    torch.manual_seed(0)
    plain, twice = SPEC.build(), SPEC.build()
    twice.load_state_dict(plain.state_dict())
    assert checkpointed(twice) > 3
    picture = torch.rand(2, 3, *SPEC.size) * 255
    for network in (plain, twice):
        sum(m.sum() for level in network(picture) for m in level).backward()
    for (name, a), b in zip(plain.named_parameters(), twice.parameters(), strict=True):
        assert torch.allclose(a.grad, b.grad, rtol=1e-3, atol=1e-3), name
    # The running statistics have moved once.
    for name, value in plain.state_dict().items():
        if value.is_floating_point():
            assert torch.allclose(value, twice.state_dict()[name]), name


def test_statistics_that_never_moved_are_found_and_measured():
    torch.manual_seed(0)
    network = SPEC.build()
    for module in batchnorm.norms(network):
        module.momentum = 1e-4  # a decay of 0.9999 hardly moves
    labels = torch.full((4, 2, 6), -1.0)
    labels[:, 0] = torch.tensor([1.0, 10, 10, 40, 40, 0])
    batches = [(torch.rand(4, 3, *SPEC.size) * 60 + 100, labels) for _ in range(3)]
    objective = Objective(SPEC.size, 'cpu', Precision('cpu', 'fp32'))
    with torch.no_grad():
        for module in (m for m in network.modules() if isinstance(m, nn.BatchNorm2d)):
            module.running_mean.fill_(-3.0)
    before, after = agreed(network, objective, batches)
    assert not before.good and after.good
    assert after.training == pytest.approx(before.training, rel=1e-3)
    assert agreed(network, objective, batches)[0].good


def test_settings_are_kept_as_they_are():
    wanted = settings(patience=3, source='edge_s')
    assert settings_of(wanted.to_json()).to_json() == wanted.to_json()
    with pytest.raises(ConfigError, match='expected a multiple of 6'):
        settings(batch=8, parts=2).check_ranks(3)
    with pytest.raises(ConfigError, match='precision'):
        settings(precision='fp8')
