"""Start this package's nodes as child processes, and stop them as ``ros2 launch`` would."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any

import yaml

from yolox_trt_ros.core import children
from yolox_trt_ros.core.errors import YoloxTrtRosError
from yolox_trt_ros.ros.dds import segments, settings

REFUSED = re.compile(r': (not (?:configured|active): .*(?:\n[^\[\n].*){0,30})')
"""What a detector logs when it could not be configured or activated, with the lines behind it."""


def isolate() -> None:
    """Keep a tool's topics off the network and away from a robot that is running nearby."""
    os.environ.setdefault('ROS_DOMAIN_ID', str(100 + os.getpid() % 100))
    os.environ.setdefault('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')
    os.environ.update(settings.environment())


class NodeProcess:
    """One node in a process of its own; its output goes to a log file.

    It ends with this process, however that ends.

    Args:
        module: such as ``yolox_trt_ros.ros.detector_node``.
        parameter_files: ROS parameter files; later ones win.
        parameters: further parameters by dotted name; they win over the files.
        log: where its output goes.
    """

    def __init__(
        self,
        module: str,
        parameter_files: list[Path],
        parameters: dict[str, Any],
        log: Path,
    ) -> None:
        overrides = log.with_suffix('.param.yaml')
        overrides.write_text(yaml.safe_dump({'/**': {'ros__parameters': parameters}}))
        files = [*parameter_files, *([overrides] if parameters else [])]
        arguments = [part for file in files for part in ('--params-file', str(file))]
        self._start(module, ['--ros-args', *arguments], log)

    @classmethod
    def command_line(cls, module: str, arguments: list[str], log: Path) -> NodeProcess:
        """Start a module that takes plain arguments."""
        process = cls.__new__(cls)
        process._start(module, arguments, log)
        return process

    def _start(self, module: str, arguments: list[str], log: Path) -> None:
        self.name = module.rpartition('.')[2]
        self.log = log
        with log.open('wb') as output:
            self._process = children.start(
                [sys.executable, '-m', module, *arguments],
                stdout=output,
                stderr=subprocess.STDOUT,
                # A Ctrl-C in the terminal is for the tool, which then stops its nodes in order.
                start_new_session=True,
            )

    def cpu_s(self) -> float:
        """Return the CPU seconds the process has used, user and system."""
        stat = Path(f'/proc/{self._process.pid}/stat').read_text()
        fields = stat.rpartition(')')[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf('SC_CLK_TCK')

    def running(self) -> bool:
        """Return whether the process has not ended yet."""
        return self._process.poll() is None

    def check(self) -> None:
        """Raise if the node has ended by itself, or says that it cannot do its work.

        Raises:
            YoloxTrtRosError: with the last lines it wrote, or with its reason.
        """
        code = self._process.poll()
        if code is not None:
            raise YoloxTrtRosError(f'{self.name} ended with exit code {code}:\n{self.tail()}')
        # A detector that refuses its parameters stays, to be configured again by people.
        if refused := REFUSED.search(self.log.read_text(errors='replace')):
            raise YoloxTrtRosError(f'{self.name}: {refused[1].strip()}')

    def tail(self, lines: int = 12) -> str:
        """Return the last lines of the node's log."""
        return '\n'.join(self.log.read_text(errors='replace').splitlines()[-lines:])

    def stop(self) -> int:
        """Ask the node to end, insist after a while, and return its exit code."""
        code = children.stop(self._process, signal.SIGINT)
        segments.reclaim()  # what it could not remove, if it was killed or left in a hurry
        return code

    def __enter__(self) -> NodeProcess:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()
