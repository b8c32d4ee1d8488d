"""The package as ROS tools see it: description, messages, executables, dependencies."""

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import yolox_trt_ros
from setup_env.setup_env import MESSAGES
from yolox_trt_ros.core.trace import STAGES
from yolox_trt_ros.vehicle_files import SCHEMA, vehicle_schema

ROOT = Path(__file__).resolve().parents[1]
CMAKE = (ROOT / 'CMakeLists.txt').read_text()

# Modules whose package is called differently.
PACKAGES = {
    'markupsafe': 'jinja2',  # which depends on it
    'lz4': 'rosbags',  # likewise
    'backports': 'rosbags',  # likewise, for zstd before Python 3.14 …
    'compression': 'rosbags',  # … whose standard library has it
    'PIL': 'pillow',
    'cv2': 'python3-opencv',
    'numpy': 'python3-numpy',
    'pytest': 'python3-pytest',
    'scipy': 'python3-scipy',
    'yaml': 'python3-yaml',
}
# Modules of the accelerator: taken where they are, named by an error where they are missing.
ACCELERATOR = {'cuda', 'cupy', 'cupyx', 'jtop', 'tensorrt', 'tensorrt_rtx', 'nvidia'}
# Optional extras of setup.cfg, likewise.
EXTRAS = {'av', 'duckdb', 'fsspec', 'pyarrow', 'ray', 'tensorboardX', 'torch'}
# What benchmarks compare with, if it is there.
COMPARED = {'cvcuda', 'torch', 'torchvision'}
# What detections can be handed to, if it is there.
FRIENDS = {'supervision'}
GENERATED_BY_CMAKE = {'ament_cmake', 'ament_cmake_python', 'rosidl_default_generators'}


def requirements(name: str) -> set[str]:
    """Return the package names in one of the ``setup_env/*.in`` files, as modules spell them."""
    lines = (ROOT / 'setup_env' / name).read_text().splitlines()
    names = (re.match(r'[A-Za-z][\w-]*', line) for line in lines)
    return {match.group().lower().replace('-', '_') for match in names if match}


def pins(name: str) -> dict[str, str]:
    """Return package -> version of a lock file, and check that each has a hash."""
    text = (ROOT / 'setup_env' / name).read_text()
    found = {}
    for block in re.split(r'\n(?=\S)', text):
        match = re.match(r'([\w.-]+)==([^\s;]+)', block)
        if match:
            assert '--hash=sha256:' in block, f'{name}: {match.group(1)} has no hash'
            found[match.group(1).replace('-', '_')] = match.group(2)
    return found


@pytest.fixture(scope='module')
def description():
    packages = pytest.importorskip('catkin_pkg.package')
    warnings: list[str] = []
    package = packages.parse_package(ROOT / 'package.xml', warnings=warnings)
    assert warnings == []
    return package


@pytest.mark.parametrize(
    'path', ['package.xml', *(f'setup_env/{name}/package.xml' for name in MESSAGES)]
)
def test_package_xml_is_valid(path):
    packages = pytest.importorskip('catkin_pkg.package')
    warnings: list[str] = []
    package = packages.parse_package(ROOT / path, warnings=warnings)
    package.validate(warnings=warnings)
    assert warnings == []
    assert package.package_format == 3
    assert package.get_build_type() == 'ament_cmake'
    assert [group.name for group in package.member_of_groups] == ['rosidl_interface_packages']


def test_versions_agree(description):
    """package.xml says it; catkin_prepare_release changes it there and in CHANGELOG.rst."""
    assert description.version == yolox_trt_ros.__version__
    core = pytest.importorskip('docutils.core')
    changelogs = pytest.importorskip('catkin_pkg.changelog')
    label_of = pytest.importorskip('catkin_pkg.package_version').get_forthcoming_label
    text = (ROOT / 'CHANGELOG.rst').read_text()
    core.publish_doctree(text, settings_overrides={'halt_level': 2})
    changelog = changelogs.get_changelog_from_path(ROOT, description.name)
    released = [version for version, _, _ in changelog.foreach_version()]
    coming = label_of(text)
    assert re.findall(r'^(\S+).*\n-+$', text, re.MULTILINE) == [coming] * bool(coming) + released
    assert coming or released[0] == description.version


def test_schema_of_vehicle_files_is_that_of_the_code():
    written = json.loads((ROOT / 'config' / SCHEMA).read_text())
    assert written == vehicle_schema(), (
        f'write it again: python -m yolox_trt_ros parameters --schema > config/{SCHEMA}'
    )


def test_cmake_finds_what_package_xml_declares(description):
    declared = {d.name for d in description.build_depends + description.buildtool_depends}
    outside_tests = CMAKE.partition('if(BUILD_TESTING)')[0]
    found = set(re.findall(r'find_package\((\w+) REQUIRED\)', outside_tests))
    # The C++ part takes what it can get, and is left out where that is not enough.
    native = (ROOT / 'src' / 'CMakeLists.txt').read_text()
    assert {name for name in declared if name.removesuffix('-dev') in native} | found == declared
    assert not found - declared


def test_every_import_is_declared(description):
    declared = {d.name for d in description.exec_depends}
    known = (
        declared
        | ACCELERATOR
        | EXTRAS
        | COMPARED
        | FRIENDS
        | requirements('runtime.in')
        | {'yolox_trt_ros'}
    )
    for_tests = known | {d.name for d in description.test_depends}
    for path in [*ROOT.glob('yolox_trt_ros/**/*.py'), *ROOT.glob('launch/*.py')]:
        for node in ast.walk(ast.parse(path.read_text())):
            modules = []
            if isinstance(node, ast.Import):
                modules = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and not node.level:
                modules = [node.module or '']
            for module in {m.partition('.')[0] for m in modules} - sys.stdlib_module_names:
                allowed = for_tests if 'testing' in path.parts else known
                assert PACKAGES.get(module, module) in allowed, (
                    f'{path.relative_to(ROOT)}:{node.lineno} imports {module}, which neither '
                    f'package.xml nor setup_env/runtime.in names'
                )


def test_every_message_is_built_and_travels():
    from rclpy.serialization import deserialize_message, serialize_message

    from yolox_trt_ros import msg

    names = {path.stem for path in (ROOT / 'msg').glob('*.msg')}
    assert {f'msg/{name}.msg' for name in names} == set(re.findall(r'msg/\w+\.msg', CMAKE))
    for name in sorted(names):
        kind = getattr(msg, name)
        assert deserialize_message(serialize_message(kind()), kind) == kind()


def test_messages_fit_the_code():
    from diagnostic_msgs.msg import DiagnosticStatus

    from yolox_trt_ros.msg import CameraLatency, CameraStatus

    durations = [name for name in CameraLatency.get_fields_and_field_types() if name[-3:] == '_ns']
    assert durations == [*(f'{stage}_ns' for stage in STAGES), 'total_ns', 'age_ns']
    for level in ('OK', 'WARN', 'ERROR', 'STALE'):
        assert bytes([getattr(CameraStatus, level)]) == getattr(DiagnosticStatus, level)


@pytest.mark.parametrize(
    ('name', 'fields'),
    [
        ('Detection2DArray', 'header:Header detections:sequence<Detection2D>'),
        (
            'Detection2D',
            'header:Header results:sequence<ObjectHypothesisWithPose> bbox:BoundingBox2D id:string',
        ),
        ('ObjectHypothesisWithPose', 'hypothesis:ObjectHypothesis pose:PoseWithCovariance'),
        ('ObjectHypothesis', 'class_id:string score:double'),
        ('BoundingBox2D', 'center:Pose2D size_x:double size_y:double'),
        ('Pose2D', 'position:Point2D theta:double'),
        ('Point2D', 'x:double y:double'),
        ('VisionClass', 'class_id:uint16 class_name:string'),
        ('LabelInfo', 'header:Header class_map:sequence<VisionClass> threshold:float'),
        (
            'VisionInfo',
            'header:Header method:string database_location:string database_version:int32',
        ),
    ],
)
def test_vision_msgs_interface(name, fields):
    import vision_msgs.msg

    types = getattr(vision_msgs.msg, name).get_fields_and_field_types()
    short = {field: re.sub(r'\w+/', '', kind) for field, kind in types.items()}
    assert [f'{field}:{kind}' for field, kind in short.items()] == fields.split()


def test_executables_are_installed():
    from ament_index_python.packages import get_package_prefix

    folder = Path(get_package_prefix('yolox_trt_ros'), 'lib', 'yolox_trt_ros')
    scripts = {path.name for path in (ROOT / 'scripts').iterdir()}
    assert scripts == set(re.findall(r'scripts/(\w+)', CMAKE))
    for name in scripts:
        assert os.access(folder / name, os.X_OK), f'{folder / name} is not an executable file'
    version = subprocess.run(
        [sys.executable, folder / 'yolox_trt_ros', '--version'], capture_output=True, text=True
    )
    assert (version.returncode, version.stdout) == (0, f'{yolox_trt_ros.__version__}\n')


@pytest.mark.parametrize('folder', ['config', 'launch', 'models'])
def test_share_is_installed(folder):
    from ament_index_python.packages import get_package_share_directory

    if not (ROOT / folder).is_dir():
        pytest.skip(f'this checkout has no {folder}/')
    share = Path(get_package_share_directory('yolox_trt_ros'))
    for path in (ROOT / folder).rglob('*'):
        if path.is_file() and path.suffix not in ('.npy', '.pyc'):
            assert (share / path.relative_to(ROOT)).is_file()


def test_locks_hold_what_is_asked_for():
    wheels, sourced, jazzy = map(pins, ('wheels.lock', 'sourced.lock', 'wheels_jazzy.lock'))
    common = requirements('runtime.in') | requirements('development.in')
    wanted = requirements('wheels.in') | common
    assert wanted <= {name.lower() for name in wheels}
    assert wanted - {'ros_ament_cmake_ros_core'} <= {name.lower() for name in jazzy}
    others = {name: version for name, version in wheels.items() if name[:4] != 'ros_'}
    assert others.items() <= jazzy.items(), 'the two differ in more than their ROS 2: make lock'
    assert common <= {name.lower() for name in sourced}
    # A sourced ROS 2 brings its own, and a second one would break its message classes.
    assert not {'numpy', 'opencv_python_headless', 'pyyaml'} & set(sourced)
    assert not [name for name in sourced if name.startswith('ros_')]


def test_modules_of_tests_have_names_of_their_own():
    names = [path.name for path in (ROOT / 'test').rglob('*.py') if path.name != 'conftest.py']
    assert sorted(names) == sorted(set(names))  # pytest imports them all by their bare names


MOST_LINES, MOST_OF_A_FUNCTION = 350, 60
# What is larger today, and no larger than this; the list is to become empty.
LARGER = {
    'test/fuzz/harness.py': 379,
    'test/ros/output/test_cdr_templates.py': 358,
    'test/ros/test_parameters.py': 382,
    'test/schedule/test_lane_life.py': 364,
}
SOURCES = [
    path
    for folder in ('yolox_trt_ros', 'benchmarks', 'test')
    for path in sorted((ROOT / folder).rglob('*.py'))
]


def test_files_and_functions_are_of_a_size_that_is_read_at_once():
    large = []
    for path in SOURCES:
        text, name = path.read_text(), str(path.relative_to(ROOT))
        if (lines := text.count('\n')) > LARGER.get(name, MOST_LINES):
            large.append(f'{name}: {lines} lines')
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                lines = (node.end_lineno or 0) - node.lineno + 1
                if lines > MOST_OF_A_FUNCTION:
                    large.append(f'{name}: {node.name} has {lines} lines')
    assert not large, f'at most {MOST_LINES} and {MOST_OF_A_FUNCTION}: split by subject'


def test_no_class_name_stands_for_two_things():
    found: dict[str, list[str]] = {}
    for path in (ROOT / 'yolox_trt_ros').rglob('*.py'):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef):
                found.setdefault(node.name, []).append(str(path.relative_to(ROOT)))
    assert {name: paths for name, paths in found.items() if len(paths) > 1} == {}


def test_every_module_of_tools_is_a_tool():
    hidden = [p.name for p in (ROOT / 'yolox_trt_ros' / 'tools').glob('_*') if p.suffix == '.py']
    assert hidden == ['__init__.py'], 'what tools share lies in cli/'
