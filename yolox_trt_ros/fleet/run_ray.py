"""Run segments on a Ray cluster: Ray Data over them, an actor with a detector per share of a GPU.

What was seen with Ray 2.60 shapes this. Rows of one block share its fate, so each segment is a
block of its own, and errors are caught in the actor and become the segment's row. Ray repeats what
a lost actor had, so files are replaced whole (:mod:`fleet.results`), and a segment that kills
its workers is given up after some (:mod:`fleet.attempts`). What does not fit the cluster would wait
for ever without a word, so resources are checked before the start. Ray's own checkpoints are not
used: what is written says what is done. No pixel passes Ray's object store.
"""

from __future__ import annotations

import logging
import os
import pickle
import socket
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from yolox_trt_ros.core.errors import ConfigError, YoloxTrtRosError
from yolox_trt_ros.core.printing import one_line
from yolox_trt_ros.fleet.attempts import MOST, Attempts
from yolox_trt_ros.fleet.job import FleetJob
from yolox_trt_ros.fleet.packages import package
from yolox_trt_ros.fleet.plan import FleetSegment
from yolox_trt_ros.fleet.results import FAILED, written
from yolox_trt_ros.fleet.shipping import packed_files, unpacked
from yolox_trt_ros.fleet.store import Store
from yolox_trt_ros.fleet.worker import SegmentWorker

LOOK_S = 0.5
ANSWER_S = 3.0
"""In which a cluster of this machine takes a connection."""


@dataclass(frozen=True, slots=True)
class ClusterShare:
    """What of a cluster a run takes.

    Attributes:
        address: ``auto``, or that of a cluster.
        workers: actors; 0: as many as fit.
        cpus, gpus: of each.
        wait_s: longest time until machines that are asked for have joined the cluster.
    """

    address: str
    workers: int = 0
    cpus: float = 1.0
    gpus: float = 0.0
    wait_s: float = 30.0


class RayCluster:
    """A connection to a Ray cluster; a context manager.

    Args:
        share: what of it is taken.

    Attributes:
        workers: actors that will run.

    Raises:
        ConfigError: there is no cluster, or it has too little.
        MissingDependencyError: Ray is not installed.
    """

    def __init__(self, share: ClusterShare) -> None:
        self._ray, self._share = package('ray'), share
        package('ray.data')
        self._connect()
        try:
            self.workers = self._joined(share)
        except BaseException:
            self._ray.shutdown()
            raise

    def _connect(self) -> None:
        options: dict[str, Any] = {'log_to_driver': False, 'logging_level': logging.WARNING}
        if self._ray.is_initialized():
            return
        if self._share.address == 'auto' and left_behind():
            self._start(options)
            return
        try:
            self._ray.init(address=self._share.address, **options)
        except ConnectionError as error:
            if self._share.address != 'auto':
                raise ConfigError(
                    f'--ray {one_line(self._share.address)}: no cluster answers: {one_line(error)}'
                ) from error
            self._start(options)

    def _start(self, options: dict[str, Any]) -> None:
        """Start a cluster of this machine alone; it ends with this process."""
        try:
            self._ray.init(address='local', include_dashboard=False, **options)
        except Exception as error:  # Ray raises no kind of its own
            raise YoloxTrtRosError(
                f'--ray auto: Ray does not start here: {one_line(error)}; its logs are in '
                '/tmp/ray/session_latest/logs. It gives itself 30 s, which may be too little on a '
                'busy machine: try again when there is less to do, or without --ray'
            ) from error

    def _joined(self, share: ClusterShare) -> int:
        """Return how many workers fit, once the machines for them are there."""
        end = time.monotonic() + share.wait_s
        while True:
            try:
                return workers_that_fit(self._ray.nodes(), share)
            except ConfigError:
                if time.monotonic() > end:
                    raise
            time.sleep(LOOK_S)

    def __enter__(self) -> RayCluster:
        return self

    def __exit__(self, *_: object) -> None:
        self._ray.shutdown()

    def run(self, job: FleetJob, segments: Sequence[FleetSegment]) -> Iterator[dict[str, Any]]:
        """Yield the row of each segment when it is written.

        Raises:
            YoloxTrtRosError: no worker can do this job, or results cannot be written.
        """
        data, share = package('ray.data'), self._share
        context = data.DataContext.get_current()
        context.enable_progress_bars = False
        logging.getLogger('ray.data').setLevel(logging.ERROR)
        threads = job.lane.threads or max(1, int(share.cpus))
        job = replace(job, lane=replace(job.lane, threads=threads))
        attempts = Attempts(Store(job.out), uuid.uuid4().hex)
        rows = [{'segment': pickle.dumps(segment)} for segment in segments]
        dataset = data.from_items(rows, override_num_blocks=len(rows)).map_batches(
            SegmentActor,
            fn_constructor_args=(job, self._ray.put(packed_files(job)), attempts),
            batch_size=1,
            compute=data.ActorPoolStrategy(size=min(self.workers, len(rows))),
            num_cpus=share.cpus,
            num_gpus=share.gpus,
        )
        try:
            for batch in dataset.iter_batches(batch_size=None, prefetch_batches=0):
                for row in batch['row']:
                    yield pickle.loads(row)
        except self._ray.exceptions.RayError as error:
            raise YoloxTrtRosError(f'a worker cannot do its work: {_cause(error)}') from error
        finally:
            attempts.forget()


def left_behind() -> bool:
    """Return whether the cluster that Ray believes to run on this machine is gone.

    One that was killed leaves a file with its address, for which Ray waits a minute and more.
    """
    if os.environ.get('RAY_ADDRESS'):
        return False  # somebody says that it is there
    try:
        address = package('ray._private.services').canonicalize_bootstrap_address('auto')
        host, _, port = address.rpartition(':')
        with socket.create_connection((host.strip('[]'), int(port)), ANSWER_S):
            return False
    except OSError as error:
        return error.errno is not None or isinstance(error, TimeoutError)  # else it knows of none


class SegmentActor:
    """One worker of the pool; what it raises ends the run, so it raises what concerns all."""

    def __init__(self, job: FleetJob, files: Any, attempts: Attempts) -> None:
        content = files if isinstance(files, Mapping) else package('ray').get(files)
        self._store, self._attempts = Store(job.out), attempts
        self._worker = SegmentWorker(unpacked(job, content))

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[bytes]]:
        """Return the rows of segments, pickled as they come."""
        rows = [self._row(pickle.loads(segment)) for segment in batch['segment']]
        return {'row': [pickle.dumps(row) for row in rows]}

    def _row(self, segment: FleetSegment) -> dict[str, Any]:
        attempt = self._attempts.begin(segment)
        if attempt > 1 and (row := written(self._store, segment)):
            span = (row['start_ns'], row['stop_ns'])
            if row['status'] != FAILED and span == (segment.start_ns, segment.stop_ns):
                return row  # its worker was lost after it had written
        if attempt > MOST:
            reason = f'{MOST} workers died over it, perhaps for want of memory'
            return self._worker.failed(segment, reason, attempt, 0.0)
        return self._worker.run(segment, attempt)


def workers_that_fit(nodes: Sequence[Mapping[str, Any]], share: ClusterShare) -> int:
    """Return how many workers run on a cluster's machines.

    Args:
        nodes: as ``ray.nodes()`` has them.
        share: what is asked for.

    Raises:
        ConfigError: fewer fit than are asked for, or none.
    """
    fits = sum(_on_node(node.get('Resources', {}), share) for node in nodes if node.get('Alive'))
    if fits >= max(1, share.workers):
        return share.workers or fits
    has = ', '.join(
        f'{node.get("Resources", {}).get("CPU", 0):g} CPUs and '
        f'{node.get("Resources", {}).get("GPU", 0):g} GPUs'
        for node in nodes
        if node.get('Alive')
    )
    raise ConfigError(
        f'--ray {one_line(share.address)}: {max(1, share.workers)} workers of {share.cpus:g} CPUs '
        f'and {share.gpus:g} GPUs each do not fit: {fits} do; its machines have {has}. Ask for '
        'fewer workers or smaller shares'
    )


def _on_node(resources: Mapping[str, float], share: ClusterShare) -> int:
    """Return how many workers fit on one machine."""
    shares = [(resources.get('CPU', 0.0), share.cpus), (resources.get('GPU', 0.0), share.gpus)]
    # 1e-6: shares such as 0.1 do not add up exactly.
    return int(min(have / wanted + 1e-6 for have, wanted in shares if wanted > 0))


def _cause(error: BaseException) -> str:
    """Return what an error of Ray is about: the last line, which is the actor's own."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    return one_line(lines[-1].strip()) if lines else type(error).__name__
