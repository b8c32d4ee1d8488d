"""What the set-up decides, and that it does no step twice."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from setup_env import setup_env
from setup_env.setup_env import Plan, SetupError, make_plan


def importable(*modules):
    return lambda module: module in modules


def test_without_ros_everything_comes_from_the_wheels():
    plan = make_plan({}, importable())
    assert plan.world == 'wheels'
    assert plan.packages == (*(f'setup_env/{name}' for name in setup_env.MESSAGES), '.')
    assert any(argument.endswith('wheels.cmake') for argument in plan.cmake_args)


def test_a_sourced_ros_is_used_as_it_is():
    plan = make_plan({'ROS_DISTRO': 'jazzy'}, importable('rclpy', *setup_env.MESSAGES))
    assert (plan.world, plan.distro, plan.packages) == ('sourced', 'jazzy', ('.',))
    assert plan.lock == 'setup_env/sourced.lock'
    assert not any('wheels.cmake' in argument for argument in plan.cmake_args)


def test_another_distributions_wheels_have_a_lock_and_folders_of_their_own(monkeypatch):
    for name in ('VENV', 'BUILD', 'STAMP'):
        monkeypatch.setattr(setup_env, name, None)
    assert make_plan({}, importable(), 'jazzy').lock == 'setup_env/wheels_jazzy.lock'
    setup_env.keep_apart('jazzy')
    assert setup_env.VENV == setup_env.ROOT / '.venv-jazzy'
    assert setup_env.VENV in setup_env.BUILD.parents and setup_env.VENV in setup_env.STAMP.parents


def test_a_sourced_ros_is_no_place_for_another_distributions_wheels():
    with pytest.raises(SetupError, match=r'ROS 2 humble is sourced, and the wheels of jazzy'):
        make_plan({'ROS_DISTRO': 'humble'}, importable('rclpy'), 'jazzy')
    sourced = make_plan({'ROS_DISTRO': 'jazzy'}, importable('rclpy'), 'jazzy')
    assert sourced.world == 'sourced'


def test_a_sourced_ros_gets_the_messages_that_it_lacks():
    plan = make_plan({'ROS_DISTRO': 'humble'}, importable('rclpy', *setup_env.MESSAGES[1:]))
    assert plan.packages == ('setup_env/vision_msgs', '.')


def test_messages_are_in_an_order_in_which_they_can_be_built():
    folder = Path(setup_env.__file__).parent
    for number, name in enumerate(setup_env.MESSAGES):
        needed = re.findall('<depend>(.*)</depend>', (folder / name / 'package.xml').read_text())
        assert not set(needed) & set(setup_env.MESSAGES[number:]), name
    assert {f.parent.name for f in folder.glob('*/package.xml')} == set(setup_env.MESSAGES)


def test_a_sourced_ros_of_another_python_is_refused():
    with pytest.raises(SetupError, match=r'humble is sourced, but .* does not import rclpy'):
        make_plan({'ROS_DISTRO': 'humble'}, importable('vision_msgs'))


@pytest.mark.parametrize('world', ['wheels', 'sourced'])
def test_a_machine_without_a_compiler_is_reported(monkeypatch, tmp_path, world):
    monkeypatch.setenv('PATH', str(tmp_path))
    with pytest.raises(SetupError, match=r'sudo apt install g\+\+$'):
        setup_env.check_machine(Plan(world, '', '', (), ()))


def test_wheels_need_their_platform(monkeypatch):
    monkeypatch.setattr(setup_env.platform, 'machine', lambda: 'aarch64')
    with pytest.raises(SetupError, match=r'x86-64 only, this is linux on aarch64'):
        setup_env.check_machine(Plan('wheels', '', '', (), ()))


def test_an_unsupported_python_is_reported(monkeypatch, tmp_path):
    monkeypatch.setenv('PATH', str(tmp_path))
    monkeypatch.setattr(setup_env.sys, 'version_info', (3, 9, 1))
    with pytest.raises(SetupError, match=r'not supported: install Python 3.10 to 3.13'):
        setup_env.use_supported_python()


@pytest.fixture
def checkout(monkeypatch, tmp_path):
    """Return a small checkout and its set-up, whose steps are recorded instead of run."""
    for name in ('msg/A.msg', 'setup_env/vision_msgs/msg/B.msg', 'setup_env/wheels.cmake',
                 'CMakeLists.txt', 'package.xml', 'yolox_trt_ros/a.py'):  # fmt: skip
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text('1')
    (tmp_path / 'l.lock').write_text('# how it was made\na==1\nros-a==1\n')
    (tmp_path / '.venv/bin').mkdir(parents=True)
    (tmp_path / '.venv/bin/python').touch()
    steps = []
    monkeypatch.setattr(setup_env, 'ROOT', tmp_path)
    monkeypatch.setattr(setup_env, 'HERE', tmp_path / 'setup_env')
    monkeypatch.setattr(setup_env, 'VENV', tmp_path / '.venv')
    monkeypatch.setattr(setup_env, 'BUILD', tmp_path / 'build')
    monkeypatch.setattr(setup_env, 'STAMP', tmp_path / '.venv' / 'setup.json')
    monkeypatch.setattr(setup_env, 'check_machine', lambda plan: None)
    for step in ('create_venv', 'install_packages', 'build_packages'):
        monkeypatch.setattr(
            setup_env, step, lambda plan, step=step: steps.append(step.split('_')[0])
        )

    def set_up():
        steps.clear()
        setup_env.set_up(Plan('wheels', '', 'l.lock', ('.',), ()))
        return list(steps)

    assert set_up() == ['create', 'install', 'build']
    return tmp_path, set_up


@pytest.mark.parametrize(
    ('name', 'text', 'expected'),
    [
        ('yolox_trt_ros/a.py', 'edited', []),
        ('l.lock', '# made otherwise\na==1\nros-a==1\n', []),
        ('yolox_trt_ros/new.py', '', ['build']),
        ('msg/A.msg', 'edited', ['build']),
        ('setup_env/vision_msgs/msg/B.msg', 'edited', ['build']),
        ('CMakeLists.txt', 'edited', ['build']),
        ('l.lock', 'a==2\nros-a==1\n', ['install']),
        ('l.lock', 'a==1\nros-a==2\n', ['create', 'install', 'build']),
    ],
)
def test_a_step_runs_again_when_its_inputs_change(checkout, name, text, expected):
    root, set_up = checkout
    assert set_up() == []
    (root / name).write_text(text)
    assert set_up() == expected
    assert set_up() == []


def test_a_failed_build_is_tried_again(checkout, monkeypatch):
    root, set_up = checkout
    (root / 'msg/A.msg').write_text('broken')

    def fail(plan):
        raise SetupError('no')

    with monkeypatch.context() as broken:
        broken.setattr(setup_env, 'build_packages', fail)
        with pytest.raises(SetupError):
            set_up()
    assert set_up() == ['build']


@pytest.mark.parametrize(
    'text',
    [
        '',
        '{',
        '{"base": "',
        '[]',
        'null',
        '7',
        '{"base": 7}',
        '\0' * 40,
        '[' * 100_000,
        '{"a": {}}',
    ],
)
def test_a_damaged_stamp_means_that_nothing_is_known(checkout, text):
    root, set_up = checkout
    stamp = root / '.venv/setup.json'
    stamp.write_text(text)
    assert set_up() == ['create', 'install', 'build']
    assert set_up() == []
    stamp.write_bytes(b'\xff\xfe{')
    assert set_up() == ['create', 'install', 'build']


def test_an_environment_without_its_python_is_made_anew(checkout):
    root, set_up = checkout
    (root / '.venv/bin/python').unlink()
    assert set_up() == ['create', 'install', 'build']


@pytest.mark.parametrize(
    ('step', 'again'),
    [
        ('create_venv', ['create', 'install', 'build']),
        ('install_packages', ['create', 'install', 'build']),
        ('build_packages', ['build']),
    ],
)
def test_what_an_interrupted_step_left_is_thrown_away(checkout, monkeypatch, step, again):
    root, set_up = checkout
    (root / 'l.lock').write_text('a==2\nros-a==2\n')
    (root / 'build').mkdir()

    def die(plan):
        raise KeyboardInterrupt  # or killed: nothing of ours runs after it

    with monkeypatch.context() as broken:
        broken.setattr(setup_env, step, die)
        with pytest.raises(KeyboardInterrupt):
            set_up()
    assert set_up() == again
    assert set_up() == []
    assert (root / 'build').exists() == (step != 'build_packages')


def test_a_failed_build_keeps_what_it_has_built(checkout, monkeypatch):
    root, set_up = checkout
    (root / 'msg/A.msg').write_text('broken')
    (root / 'build').mkdir()

    def fail(plan):
        raise subprocess.CalledProcessError(1, ['colcon'])

    with monkeypatch.context() as broken:
        broken.setattr(setup_env, 'build_packages', fail)
        with pytest.raises(subprocess.CalledProcessError):
            set_up()
    assert set_up() == ['build']
    assert (root / 'build').exists()


def test_the_stamp_is_written_as_a_whole(checkout, monkeypatch):
    root, set_up = checkout
    before = (root / '.venv/setup.json').read_text()

    def cut(done, file):
        file.write('{"ba')
        raise OSError(28, 'No space left on device')

    (root / 'msg/A.msg').write_text('edited')
    with monkeypatch.context() as full:
        full.setattr(setup_env.json, 'dump', cut)
        with pytest.raises(OSError, match='No space'):
            set_up()
    assert (root / '.venv/setup.json').read_text() == before
    assert set_up() == ['build']


TWICE = """
import subprocess, sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from setup_env import setup_env
setup_env.ROOT = Path(sys.argv[2])
with setup_env.locked():
    print('has it', flush=True)
    subprocess.run([sys.executable, '-c', sys.argv[3]], close_fds=False)
"""


def test_a_second_set_up_waits_for_all_that_a_killed_one_started(tmp_path):
    root = Path(setup_env.__file__).resolve().parent.parent

    def start(work):
        command = [sys.executable, '-c', TWICE, str(root), str(tmp_path), work]
        pipe = subprocess.PIPE
        return subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True)

    done = str(tmp_path / 'done')
    first = start(f'print("works", flush=True); input(); open({done!r}, "w").close()')
    assert first.stdout.readline() == 'has it\n'
    assert first.stdout.readline() == 'works\n'
    first.kill()
    second = start('')
    assert second.stdout.readline().startswith('setup: another one is running: waiting')
    first.stdin.write('\n')
    first.stdin.flush()
    assert second.stdout.readline() == 'has it\n'
    assert Path(done).exists()
    for process in (first, second):
        process.communicate()


def test_the_wheels_name_headers_of_this_machine():
    exports = list(setup_env.VENV.glob('share/*/cmake/*_pyExport.cmake'))
    if not exports:
        pytest.skip('ROS 2 is not from the wheels here')
    for path in exports:
        folders = re.search(r'INTERFACE_INCLUDE_DIRECTORIES "([^"]+)"', path.read_text())
        assert folders, f'{path.name} names no headers'
        for folder in folders.group(1).split(';'):
            assert Path(folder).is_dir(), f'{path.name}: no folder {folder}'


def test_wheels_that_are_adapted_already_are_left_as_they_are(tmp_path, monkeypatch):
    exported = tmp_path / 'share/some_msgs/cmake/some_msgs__pyExport.cmake'
    (tmp_path / 'lib' / setup_env.PYTHON_NAME / 'site-packages').mkdir(parents=True)
    exported.parent.mkdir(parents=True)
    exported.write_text('a\n  INTERFACE_INCLUDE_DIRECTORIES "/opt/python/include"\nb\n')
    monkeypatch.setattr(setup_env, 'VENV', tmp_path)
    monkeypatch.setattr(setup_env, '_venv', lambda _program: sys.executable)
    setup_env.adapt_wheels()
    before = exported.stat()
    assert '/opt/python' not in exported.read_text()
    setup_env.adapt_wheels()
    after = exported.stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
