"""Pictures of one rendered test world with their labels, as a COCO data set."""

import json
from pathlib import Path

import cv2

from yolox_trt_ros.sim.world.bodies import CLASSES as NAMES
from yolox_trt_ros.sim.world.rig import default_rig
from yolox_trt_ros.sim.world.world import World


def write_labelled(path: Path, cameras: int = 8) -> Path:
    """Write pictures and ``labels.json`` into a folder."""
    path.mkdir(parents=True, exist_ok=True)
    images, annotations = [], []
    with World(200_500, 'day', 'clear') as world:
        for k, camera in enumerate(list(default_rig().values())[:cameras], 1):
            bgr, truth = world.render(3.0, camera)
            cv2.imwrite(str(path / f'{camera.name}.png'), bgr)
            images.append({'id': k, 'file_name': f'{camera.name}.png', 'width': 960, 'height': 640})
            for box, class_id, ignored in zip(
                truth.xyxy, truth.class_id, truth.ignored, strict=True
            ):
                x0, y0, x1, y1 = (float(v) for v in box)
                annotations.append(
                    {
                        'id': len(annotations) + 1,
                        'image_id': k,
                        'category_id': int(class_id) * 10,
                        'bbox': [x0, y0, x1 - x0, y1 - y0],
                        'area': (x1 - x0) * (y1 - y0),
                        'iscrowd': int(ignored),
                    }
                )
    categories = [{'id': k * 10, 'name': name} for k, name in enumerate(NAMES)]
    categories.append({'id': 999, 'name': 'tram'})
    content = {'images': images, 'annotations': annotations, 'categories': categories}
    (path / 'labels.json').write_text(json.dumps(content))
    return path
