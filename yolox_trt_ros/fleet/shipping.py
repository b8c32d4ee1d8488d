"""A job's files for machines that do not have them: model, what is beside it, labels, ranges."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from yolox_trt_ros.fleet.job import FleetJob

BESIDE = ('labels.txt', '*.yaml', '*.data')
"""What belongs to a model in its folder, beside files of its own name."""


def packed_files(job: FleetJob) -> dict[str, bytes]:
    """Return the content of every file that a job names, by path."""
    model = Path(job.model.path)
    paths = {model, *model.parent.glob(f'{model.stem}.*')}
    paths |= {path for pattern in BESIDE for path in model.parent.glob(pattern)}
    paths |= {Path(name) for name in (job.model.labels, job.model.class_map, job.ranges) if name}
    return {str(path): path.read_bytes() for path in sorted(paths) if path.is_file()}


def unpacked(job: FleetJob, files: Mapping[str, bytes]) -> FleetJob:
    """Return a job whose files are on this machine: its own, or copies in a temporary folder."""
    model = Path(job.model.path)
    if model.is_file() and hashlib.sha256(model.read_bytes()).hexdigest() == job.sha256:
        return job
    folder = Path(tempfile.mkdtemp(prefix='yolox_trt_ros_model_'))
    new: dict[str, str] = {'': ''}
    for name, content in files.items():
        # Files of one folder stay beside each other; those of others get one of their own.
        group = hashlib.sha256(str(Path(name).parent).encode()).hexdigest()[:8]
        target = folder / group / Path(name).name
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(content)
        new[name] = str(target)
    about = replace(
        job.model,
        path=new[job.model.path],
        labels=new[job.model.labels],
        class_map=new[job.model.class_map],
    )
    config = job.config and replace(job.config, model=about)
    return replace(job, model=about, config=config, ranges=new[job.ranges])
