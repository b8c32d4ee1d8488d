"""A fleet on Ray: what fits a cluster, files for machines without them, segments that kill workers.

To start a cluster takes longer than all other tests together: what needs one runs where
YOLOX_TRT_ROS_RAY names the address of one that runs.
"""

from __future__ import annotations

import argparse
import os
import pickle
import socket
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip('pyarrow', reason='the extra [fleet] is not installed')

from fleet_bags import write_bag
from test_fleet_run import images_of, table
from tiny_models import write_yolox

from yolox_trt_ros.__main__ import main
from yolox_trt_ros.core.config import ModelConfig
from yolox_trt_ros.core.errors import ConfigError
from yolox_trt_ros.fleet.attempts import Attempts
from yolox_trt_ros.fleet.find import FoundBag
from yolox_trt_ros.fleet.index import index_bag
from yolox_trt_ros.fleet.job import FleetJob, job_of
from yolox_trt_ros.fleet.plan import FleetSegment, segments_of
from yolox_trt_ros.fleet.run_ray import ClusterShare, SegmentActor, left_behind, workers_that_fit
from yolox_trt_ros.fleet.shipping import packed_files, unpacked
from yolox_trt_ros.fleet.store import Store
from yolox_trt_ros.tools import fleet
from yolox_trt_ros.yaml_files import read_yaml

ROOT = Path(__file__).resolve().parents[2]
CLUSTER = os.environ.get('YOLOX_TRT_ROS_RAY', '')


def node(cpus: float, gpus: float = 0.0, alive: bool = True) -> dict[str, Any]:
    return {'Alive': alive, 'Resources': {'CPU': cpus, 'GPU': gpus}}


@pytest.mark.parametrize(
    ('nodes', 'share', 'workers'),
    [
        ([node(8)], ClusterShare('a'), 8),
        ([node(8), node(3), node(16, alive=False)], ClusterShare('a', cpus=2), 5),
        ([node(8, 2), node(8)], ClusterShare('a', gpus=0.5), 4),
        ([node(8, 1)], ClusterShare('a', gpus=0.1), 8),
        ([node(2, 4)], ClusterShare('a', gpus=1), 2),
        ([node(8)], ClusterShare('a', workers=3), 3),
    ],
)
def test_workers_are_as_many_as_fit(
    nodes: list[dict[str, Any]], share: ClusterShare, workers: int
) -> None:
    assert workers_that_fit(nodes, share) == workers


@pytest.mark.parametrize(
    ('nodes', 'share', 'said'),
    [
        ([node(2)], ClusterShare('a', workers=3), '3 workers of 1 CPUs and 0 GPUs each do not fit'),
        ([node(8)], ClusterShare('a', gpus=0.5), '0 do; its machines have 8 CPUs and 0 GPUs'),
        # Four CPUs, but on no machine two of them.
        ([node(1)] * 4, ClusterShare('a', cpus=2), '0 do'),
    ],
)
def test_what_does_not_fit_is_refused_before_the_start(
    nodes: list[dict[str, Any]], share: ClusterShare, said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        workers_that_fit(nodes, share)


@pytest.mark.parametrize('there', [True, False])
def test_a_cluster_that_is_gone_is_not_waited_for(
    there: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(('127.0.0.1', 0)) as server:
        address = f'127.0.0.1:{server.getsockname()[1]}'
        if not there:
            server.close()
        services = SimpleNamespace(canonicalize_bootstrap_address=lambda _: address)
        monkeypatch.setattr('yolox_trt_ros.fleet.run_ray.package', lambda _: services)
        monkeypatch.delenv('RAY_ADDRESS', raising=False)
        assert left_behind() is not there
        monkeypatch.setenv('RAY_ADDRESS', address)
        assert not left_behind(), 'Ray itself says that nothing answers'


def test_ray_has_what_says_where_a_cluster_is() -> None:
    services = pytest.importorskip('ray._private.services', reason='Ray is not installed')
    assert callable(services.canonicalize_bootstrap_address)


@pytest.fixture
def job(tmp_path: Path) -> FleetJob:
    (tmp_path / 'model').mkdir()
    model = write_yolox(tmp_path / 'model' / 'tiny.onnx')
    labels = tmp_path / 'my.txt'
    labels.write_text('car\nhuman\nbus\n')
    return job_of(
        ModelConfig(path=str(model), labels=str(labels)), None,
        out=str(tmp_path / 'out'), truth_labels=('car',), segment_s=60.0,
    )  # fmt: skip


@pytest.fixture
def segment(tmp_path: Path) -> FleetSegment:
    bag = index_bag(FoundBag(str(write_bag(tmp_path / 'bag', images=2))), None)
    (only,) = segments_of(bag, 60.0)
    return only


def test_machines_without_the_model_get_it(job: FleetJob, tmp_path: Path) -> None:
    files = packed_files(job)
    assert unpacked(job, files) is job, 'it is here'
    (tmp_path / 'model').rename(tmp_path / 'elsewhere')
    (tmp_path / 'my.txt').unlink()
    copy = unpacked(pickle.loads(pickle.dumps(job)), files)
    with copy.detector() as detector:
        assert detector.labels == ('car', 'human', 'bus')
        assert detector.model.path.name == job.name


def test_a_segment_that_kills_workers_is_given_up(job: FleetJob, segment: FleetSegment) -> None:
    attempts = Attempts(Store(job.out), 'run')
    for number in (1, 2, 3):
        assert attempts.begin(segment) == number, 'three workers die over it'
    actor = SegmentActor(job, packed_files(job), attempts)
    (row,) = map(pickle.loads, actor({'segment': [pickle.dumps(segment)]})['row'])
    assert (row['status'], row['attempts']) == ('failed', 4)
    assert row['reason'].startswith('3 workers died over it')
    assert table(Path(job.out), 'images') == []
    attempts.forget()
    assert Attempts(Store(job.out), 'next').begin(segment) == 1
    assert not list(Path(job.out, 'attempts').glob('run/*'))


def test_a_segment_whose_worker_died_late_is_not_run_again(
    job: FleetJob, segment: FleetSegment, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempts = Attempts(Store(job.out), 'run')
    actor = SegmentActor(job, packed_files(job), attempts)
    batch = {'segment': [pickle.dumps(segment)]}
    (first,) = map(pickle.loads, actor(batch)['row'])
    monkeypatch.setattr(actor._worker, 'run', None)
    (again,) = map(pickle.loads, actor(batch)['row'])
    assert again['finished'] == first['finished']
    monkeypatch.undo()
    longer = replace(segment, stop_ns=segment.stop_ns + 1)
    assert actor._row(longer)['stop_ns'] == longer.stop_ns, 'the bag has grown since'


def test_the_kubernetes_job_calls_the_tool_as_it_is() -> None:
    manifest = read_yaml(ROOT / 'examples' / 'fleet' / 'kuberay.yaml', what='a manifest')
    assert (manifest['apiVersion'], manifest['kind']) == ('ray.io/v1', 'RayJob')
    spec = manifest['spec']
    parser = argparse.ArgumentParser(exit_on_error=False)
    fleet.add_arguments(parser)
    args = parser.parse_args(spec['entrypoint'].split('yolox_trt_ros fleet ')[1].split())
    (group,) = spec['rayClusterSpec']['workerGroupSpecs']
    (worker,) = group['template']['spec']['containers']
    gpus = int(worker['resources']['limits']['nvidia.com/gpu'])
    cpus = float(worker['resources']['requests']['cpu'])
    share = ClusterShare(args.ray, args.workers, args.cpus_per_worker, args.gpus_per_worker)
    assert workers_that_fit([node(cpus, gpus)] * group['replicas'], share) == args.workers
    head = spec['rayClusterSpec']['headGroupSpec']['template']['spec']
    mounts = {m['name'] for m in head['containers'][0]['volumeMounts']}
    assert mounts == {volume['name'] for volume in head['volumes']}
    assert {v['name'] for v in group['template']['spec']['volumes']} == {
        mount['name'] for mount in worker['volumeMounts']
    }


@pytest.mark.skipif(not CLUSTER, reason='YOLOX_TRT_ROS_RAY names no running Ray cluster')
@pytest.mark.timeout(600)
def test_a_cluster_finds_what_this_process_finds(tmp_path: Path) -> None:
    pytest.importorskip('ray', reason='Ray is not installed')
    model = write_yolox(tmp_path / 'tiny.onnx')
    (tmp_path / 'drives').mkdir()
    for i in range(3):
        write_bag(tmp_path / 'drives' / f'bag{i}', images=4, seed=i)
    words = [tmp_path / 'drives', '--model', model, '--segment-s', 0.2, '--out']
    here, there = tmp_path / 'here', tmp_path / 'there'
    assert main(['fleet', *map(str, words), str(here)]) == 0
    assert main(['fleet', *map(str, words), str(there), '--ray', CLUSTER]) == 0
    assert images_of(there) == images_of(here)
    assert len(table(there, 'segments')) == len(table(here, 'segments')) == 6
