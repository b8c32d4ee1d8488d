#!/usr/bin/env python3
"""Create or update the environment in .venv: ROS 2, dependencies, built messages.

Either of two worlds is used, by what is installed, never both:

- ``wheels``: no ROS 2 is sourced. ROS 2 itself, its build tools and every dependency come from
  PyPI, pinned and hashed in ``wheels.lock``; those of another distribution than the usual one
  (``--ros jazzy``) in a lock of their own, and go to an environment of their own (``.venv-jazzy``).
- ``sourced``: ``ROS_DISTRO`` is set and this Python imports rclpy. ROS 2, NumPy, OpenCV and PyYAML
  are the system's; only what apt does not offer comes from PyPI (``sourced.lock``).

In both, colcon builds the package, and the message packages beside this file that ROS 2 does not
have, straight into ``.venv``, with links to the sources, so an edited Python file needs no new
build. Each step is skipped while a hash of everything it depends on is unchanged; what a step that
was interrupted left is thrown away. Standard library only.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import importlib.util
import json
import os
import platform
import shutil
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HERE = ROOT / 'setup_env'
VENV = ROOT / '.venv'
BUILD = ROOT / 'build'
STAMP = VENV / 'setup.json'
# Distributions whose wheels are on PyPI, and their locks; the first one is the usual one.
WHEELS = {'kilted': 'setup_env/wheels.lock', 'jazzy': 'setup_env/wheels_jazzy.lock'}
USUAL = next(iter(WHEELS))
# Also right when this runs inside the environment that it is about to replace.
SYSTEM_PYTHON = os.path.realpath(getattr(sys, '_base_executable', sys.executable))
SYSTEM_CERTIFICATES = Path('/etc/ssl/certs/ca-certificates.crt')
PYTHONS = ((3, 10), (3, 13))
PYTHON_NAME = f'python{sys.version_info[0]}.{sys.version_info[1]}'
# Lock lines that the messages are built against: another version means a new environment.
FOUNDATION = ('ros-', 'numpy==', 'cmake==')
# Message packages that PyPI and some ROS 2 installations lack; later ones need earlier ones.
MESSAGES = (
    'vision_msgs',
    'autoware_perception_msgs',
    'tier4_perception_msgs',
    'autoware_internal_debug_msgs',
    'foxglove_msgs',
    'ffmpeg_image_transport_msgs',
)
INSTALLED_FOLDERS = ('yolox_trt_ros', 'config', 'launch', 'models', 'scripts')


class SetupError(Exception):
    """What is missing on this machine, in one line."""


@dataclass(frozen=True)
class Plan:
    """What a set-up on this machine does.

    Attributes:
        world: ``wheels`` or ``sourced``.
        distro: value of ``ROS_DISTRO`` in the sourced world, otherwise empty.
        lock: lock file of the Python packages, relative to the repository.
        packages: folders that colcon builds, relative to the repository, in order.
        cmake_args: what colcon hands to CMake.
    """

    world: str
    distro: str
    lock: str
    packages: tuple[str, ...]
    cmake_args: tuple[str, ...]


def make_plan(
    environ: Mapping[str, str], can_import: Callable[[str], bool], ros: str = USUAL
) -> Plan:
    """Decide from the environment and from what Python imports; nothing is touched.

    Args:
        environ: the process's environment variables.
        can_import: whether the system's Python finds a module of that name.
        ros: whose wheels are wanted where none is sourced; one of ``WHEELS``.

    Raises:
        SetupError: a ROS 2 installation is sourced that this Python cannot use, or that is not the
            wanted one.
    """
    arguments = ('-GNinja', '-DBUILD_TESTING=OFF')
    distro = environ.get('ROS_DISTRO', '')
    if not distro:
        include = f'-DCMAKE_PROJECT_INCLUDE={HERE / "wheels.cmake"}'
        packages = _with_messages(MESSAGES)
        return Plan('wheels', '', WHEELS[ros], packages, (*arguments, include))
    if ros not in (USUAL, distro):
        raise SetupError(
            f'ROS 2 {distro} is sourced, and the wheels of {ros} were asked for: open a terminal '
            f'that sources no ROS 2, or leave out ROS={ros}'
        )
    if not can_import('rclpy'):
        raise SetupError(
            f'ROS 2 {distro} is sourced, but {sys.executable} does not import rclpy: run '
            f'make PYTHON=/usr/bin/python3, or unset ROS_DISTRO to use the PyPI wheels'
        )
    packages = _with_messages(name for name in MESSAGES if not can_import(name))
    return Plan('sourced', distro, 'setup_env/sourced.lock', packages, arguments[1:])


def _with_messages(names: Iterable[str]) -> tuple[str, ...]:
    return (*(f'setup_env/{name}' for name in names), '.')


def check_machine(plan: Plan) -> None:
    """Raise SetupError for what this machine lacks and no package index can give."""
    machine = platform.machine()
    if plan.world == 'wheels' and (sys.platform != 'linux' or machine != 'x86_64'):
        raise SetupError(
            f'ROS 2 wheels exist for Linux on x86-64 only, this is {sys.platform} on {machine}: '
            f'install ROS 2 (docs.ros.org) and source its setup.bash first'
        )
    if not shutil.which(os.environ.get('CXX', 'g++')):
        raise SetupError('no C++ compiler (it builds the messages): sudo apt install g++')
    if not Path(sysconfig.get_path('include'), 'Python.h').exists():
        raise SetupError(
            f'no Python.h (it builds the messages): sudo apt install {PYTHON_NAME}-dev'
        )
    if not _uv() and not importlib.util.find_spec('ensurepip'):
        raise SetupError(f'no ensurepip (it brings pip): sudo apt install {PYTHON_NAME}-venv')
    if plan.world == 'sourced' and not shutil.which('colcon'):
        raise SetupError('no colcon: sudo apt install python3-colcon-common-extensions')


def use_supported_python() -> None:
    """Start again with a Python this package supports if this one is not.

    Raises:
        SetupError: there is none.
    """
    if PYTHONS[0] <= sys.version_info[:2] <= PYTHONS[1]:
        return
    for minor in range(PYTHONS[1][1], PYTHONS[0][1] - 1, -1):
        python = shutil.which(f'python3.{minor}')
        if python and subprocess.run([python, '-c', ''], capture_output=True).returncode == 0:
            print(f'setup: {sys.executable} is {PYTHON_NAME}, using {python}', flush=True)
            os.execv(python, [python, *sys.argv])
    raise SetupError(
        f'{PYTHON_NAME} ({sys.executable}) is not supported: install Python 3.10 to 3.13 and run '
        f'make PYTHON=python3.12, for example'
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Bring ``.venv`` up to date; return the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or '').splitlines()[0])
    parser.add_argument('--print-plan', action='store_true', help='say what would be done, as JSON')
    parser.add_argument(
        '--ros', choices=WHEELS, default=USUAL, help='whose wheels, where no ROS 2 is sourced'
    )
    options = parser.parse_args(arguments)
    try:
        use_supported_python()
        plan = make_plan(os.environ, _can_import, options.ros)
        if options.ros != USUAL and plan.world == 'wheels':
            keep_apart(options.ros)
        if options.print_plan:
            print(json.dumps(asdict(plan), indent=2))
            return 0
        with locked():
            set_up(plan)
    except SetupError as error:
        print(f'setup: {error}', file=sys.stderr)
        return 1
    except subprocess.CalledProcessError as error:
        print(f'setup: failed ({error.returncode}): {" ".join(error.cmd)}', file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print('setup: interrupted; the next run does that step again', file=sys.stderr)
        return 130
    return 0


def keep_apart(ros: str) -> None:
    """Let the environment of another ROS 2 than the usual one have folders of its own."""
    global VENV, BUILD, STAMP
    VENV = ROOT / f'.venv-{ros}'
    BUILD = VENV / 'build'
    STAMP = VENV / 'setup.json'


@contextmanager
def locked() -> Iterator[None]:
    """Let one set-up run at a time: a second `make` waits, then finds everything done.

    The processes that it starts share the lock. Those of a set-up that was killed go on for a
    while, and nobody may work beside them.
    """
    lock = os.open(ROOT, os.O_RDONLY)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print('setup: another one is running: waiting for its end ...', flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        os.set_inheritable(lock, True)
        yield
    finally:
        os.close(lock)


def set_up(plan: Plan) -> None:
    """Do the steps whose inputs have changed since they were last done."""
    pins = (ROOT / plan.lock).read_text().splitlines()
    pins = [line for line in pins if not line.lstrip().startswith('#')]
    base = [line for line in pins if line.startswith(FOUNDATION)]
    keys = {'base': digest([plan.world, plan.distro, str(ROOT), sys.version, SYSTEM_PYTHON, *base])}
    keys['packages'] = digest([keys['base'], *pins])
    words = [keys['base'], *plan.packages, *plan.cmake_args, *installed_names()]
    keys['build'] = digest(words, build_inputs())
    done = read_stamp()
    if done == keys:
        return
    check_machine(plan)
    begun = done.pop('begun', '')
    if done.get('base') != keys['base'] or begun == 'packages':
        create_venv(plan)
        done = {'base': keys['base']}
    if done.get('packages') != keys['packages']:
        write_stamp({**done, 'begun': 'packages'})
        _timed(f'Python packages of {plan.lock}', lambda: install_packages(plan))
        done = {**keys, 'build': done.get('build', '')}
        write_stamp(done)
    if done.get('build') != keys['build']:
        if begun == 'build':
            shutil.rmtree(BUILD, ignore_errors=True)
        write_stamp({**done, 'build': '', 'begun': 'build'})
        try:
            _timed('messages (up to a minute)', lambda: build_packages(plan))
        except subprocess.CalledProcessError:  # what it has built until then is sound
            write_stamp({**done, 'build': ''})
            raise
        write_stamp(keys)


def read_stamp() -> dict[str, str]:
    """Return the keys of what has been done; nothing if the file is missing, cut or no such.

    ``begun`` names a step that was interrupted.
    """
    if not Path(_venv('python')).exists():
        return {}
    try:
        done = json.loads(STAMP.read_text())
    except (OSError, ValueError, RecursionError):
        return {}
    good = isinstance(done, dict) and all(isinstance(value, str) for value in done.values())
    return done if good else {}


def write_stamp(done: Mapping[str, str]) -> None:
    """Write what has been done: after it, on the disk too, and as a whole or not at all."""
    os.sync()
    draft = STAMP.with_name(f'{STAMP.name}.new')
    with draft.open('w') as file:
        json.dump(done, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(draft, STAMP)


def build_inputs() -> list[Path]:
    """Return the files that a build depends on."""
    files = [ROOT / 'CMakeLists.txt', ROOT / 'package.xml', Path(__file__), HERE / 'wheels.cmake']
    for folder in (ROOT / 'msg', ROOT / 'src', *(HERE / name for name in MESSAGES)):
        files += sorted(path for path in folder.rglob('*') if path.is_file())
    return files


def digest(words: Iterable[str], files: Iterable[Path] = ()) -> str:
    """Return a hash over words and over the names and contents of files."""
    state = hashlib.sha256()
    for word in words:
        state.update(word.encode() + b'\0')
    for path in files:
        state.update(os.fsencode(path) + b'\0' + path.read_bytes())
    return state.hexdigest()


def installed_names() -> list[str]:
    """Return the names of the files that the build links to: only a new name needs a build."""
    return sorted(
        str(path.relative_to(ROOT))
        for folder in INSTALLED_FOLDERS
        for path in (ROOT / folder).rglob('*')
        if path.is_file() and '__pycache__' not in path.parts
    )


def create_venv(plan: Plan) -> None:
    """Create the virtual environment anew; what was built on the old one goes with it."""
    shutil.rmtree(VENV, ignore_errors=True)
    shutil.rmtree(BUILD, ignore_errors=True)
    options = ['--without-pip'] * bool(_uv()) + ['--system-site-packages'] * (
        plan.world == 'sourced'
    )
    _run([SYSTEM_PYTHON, '-m', 'venv', *options, str(VENV)])


def install_packages(plan: Plan) -> None:
    """Make the virtual environment hold what the plan's lock file names."""
    if not _uv():
        pip = [_venv('python'), '-m', 'pip', 'install', '--quiet', '--require-hashes']
        _run([*pip, '-r', str(HERE / 'uv.lock')])
    lock = str(ROOT / plan.lock)
    # Not `pip sync`: it takes the ROS wheels' second set of metadata for packages of its own that
    # the lock does not name, and removes their files. What builds empy is held to hashes, too.
    install = [str(_uv()), 'pip', 'install', '--quiet', '--python', _venv('python'), '--no-deps']
    install += ['--require-hashes', '--build-constraints', lock, '-r', lock]
    # uv trusts its own list of authorities; a company's, which pip accepts, is in the system's.
    environ = dict(os.environ)
    if SYSTEM_CERTIFICATES.exists():
        environ.setdefault('SSL_CERT_FILE', str(SYSTEM_CERTIFICATES))
    _run(install, environ)
    if plan.world == 'wheels':
        adapt_wheels()


def adapt_wheels() -> None:
    """Make the ROS wheels usable where they are: header folders and the ament prefix.

    Their exported CMake files name the header folders of the machine that built them. The files
    may be hard links into a package cache, so they are replaced, never written in place.
    """
    numpy_headers = subprocess.check_output(
        [_venv('python'), '-c', 'import numpy; print(numpy.get_include())'], text=True
    ).strip()
    for path in VENV.glob('share/*/cmake/*_pyExport.cmake'):
        text = path.read_text()
        lines = text.splitlines(keepends=True)
        for number, line in enumerate(lines):
            if 'INTERFACE_INCLUDE_DIRECTORIES "/opt/python/' in line:
                folders = f'{sysconfig.get_path("include")};{numpy_headers}'
                lines[number] = f'  INTERFACE_INCLUDE_DIRECTORIES "{folders}"\n'
        if (adapted := ''.join(lines)) != text:  # a newer file has all packages configured again
            path.unlink()
            path.write_text(adapted)
    # The wheels find their libraries by themselves, but not the ament index.
    site = VENV / 'lib' / PYTHON_NAME / 'site-packages'
    (site / 'ament_prefix.pth').write_text(
        "import os, sys; os.environ.setdefault('AMENT_PREFIX_PATH', sys.prefix)\n"
    )


def build_packages(plan: Plan) -> None:
    """Build and install the packages of the plan into the virtual environment with colcon."""
    environ = dict(os.environ)
    if plan.world == 'wheels':
        environ.pop('PYTHONPATH', None)
        environ['PATH'] = f'{VENV / "bin"}{os.pathsep}{environ["PATH"]}'
        environ['AMENT_PREFIX_PATH'] = environ['CMAKE_PREFIX_PATH'] = str(VENV)
    command = ['colcon', '--log-base', str(BUILD / 'log'), 'build']
    command += ['--build-base', str(BUILD), '--install-base', str(VENV)]
    command += ['--merge-install', '--symlink-install', '--event-handlers']
    command += ['console_cohesion+', 'console_stderr-']
    command += ['--base-paths', *(str(ROOT / package) for package in plan.packages)]
    command += ['--cmake-args', *plan.cmake_args, f'-DPython3_EXECUTABLE={_venv("python")}']
    result = subprocess.run(
        command,
        cwd=ROOT,
        env=environ,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        close_fds=False,  # see locked()
    )
    if result.returncode:
        print(result.stdout, file=sys.stderr)
        raise subprocess.CalledProcessError(result.returncode, ['colcon', 'build'])
    # colcon leaves the link to a file that was renamed or deleted.
    for place in ('lib/python*/site-packages', 'share'):
        for link in VENV.glob(f'{place}/yolox_trt_ros/**/*'):
            if link.is_symlink() and not link.exists():
                link.unlink()


def _can_import(module: str) -> bool:
    command = [SYSTEM_PYTHON, '-c', f'import {module}']
    return subprocess.run(command, capture_output=True).returncode == 0


def _uv() -> str | None:
    return shutil.which('uv', path=f'{VENV / "bin"}{os.pathsep}{os.environ["PATH"]}')


def _venv(program: str) -> str:
    return str(VENV / 'bin' / program)


def _run(command: list[str], environ: Mapping[str, str] | None = None) -> None:
    subprocess.run(command, check=True, env=environ, close_fds=False)  # see locked()


def _timed(what: str, step: Callable[[], None]) -> None:
    print(f'setup: {what} ...', flush=True)
    begin = time.monotonic()
    step()
    print(f'setup: {what} done in {time.monotonic() - begin:.0f} s', flush=True)


if __name__ == '__main__':
    sys.exit(main())
