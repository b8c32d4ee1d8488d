#!/bin/sh
# Build wheel and sdist into dist/, and try the wheel: in an environment and a folder of its own,
# the tools show their help and the detector finds objects in pictures of the rendered world.
set -eu
cd "$(dirname "$0")/.."
top=$PWD
PATH=$top/.venv/bin:$PATH
unset PYTHONPATH AMENT_PREFIX_PATH VIRTUAL_ENV
rm -rf dist
uv build --quiet --out-dir dist .
rm -rf yolox_trt_ros.egg-info
ls -l dist

trial=$(mktemp -d)
trap 'rm -rf "$trial"' EXIT
uv venv --quiet --python "$top/.venv/bin/python" "$trial/env"
uv pip install --quiet --python "$trial/env/bin/python" "$(echo dist/*.whl)[cpu,tools]"
cd "$trial"
program=env/bin/yolox_trt_ros
echo "dist: version $($program --version)"
for tool in $(cd "$top/yolox_trt_ros/tools" && ls ./*.py); do
    tool=$(basename "$tool" .py)
    [ "$tool" = __init__ ] || $program "$tool" --help >help.txt || exit 1
done
$program dataset convert --world val --worlds 1 --to coco --output world
env/bin/python - <<'EOF'
from pathlib import Path
from cv2 import imread
from yolox_trt_ros import Detector
pictures = [imread(str(file)) for file in Path('world').rglob('*.[jp][pn]g')]
with Detector('edge_n') as detect:
    found = sum(len(list(detect(picture))) for picture in pictures)
assert found > len(pictures) > 0, (found, len(pictures))
print(f'dist: {found} detections in {len(pictures)} pictures')
EOF
