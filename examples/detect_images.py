"""Find objects in images with the Python interface, cell by cell.

Editors such as VS Code, Spyder and PyCharm run the cells one by one; as a program it runs
whole: `python examples/detect_images.py drawn.png`. It needs no ROS, no GPU and no files.
"""

# %% A picture: a street that is rendered here. Any uint8 array (height, width, 3) in BGR will do,
# such as cv2.imread('photo.jpg').
import sys
from pathlib import Path

from yolox_trt_ros import Detector, FrameError
from yolox_trt_ros.draw.boxes import draw_detections
from yolox_trt_ros.image_files import write_image
from yolox_trt_ros.sim.world.dataset import render_world

image = next(render_world('val', 1))[1]

# %% Detect. The model is one that comes with the package; your own is a path to an ONNX file.
# device='cuda:0' runs it on a GPU.
detect = Detector('edge_n', score_threshold=0.4)
found = detect(image)
for one in found:
    left, top, right, bottom = one.box  # pixels of the image
    print(f'{one.label:<12}{one.score:.2f}  {left:.0f} {top:.0f} {right:.0f} {bottom:.0f}')

# %% The same as arrays, and a part of them.
print(found.xyxy.shape, found.score.dtype, found.class_id)
vehicles = found[found.mask('car', 'truck', 'bus') & (found.score > 0.5)]
print(f'{len(vehicles)} of {len(found)} are vehicles')

# %% The same picture in another layout; and several at once, of any sizes.
same = detect(image[:, :, ::-1], encoding='rgb8')
assert (same.xyxy == found.xyxy).all()
for part in detect([image[:, :480], image[:, 480:]]):
    print('in one half:', ', '.join(one.label for one in part))

# %% What does not fit says so.
try:
    detect(image / 255)
except FrameError as error:
    print(error)

# %% Draw, and free the device. `with Detector(…) as detect:` does the latter by itself.
output = Path(sys.argv[1] if len(sys.argv) > 1 else 'drawn.png')
write_image(output, draw_detections(image, found, found.labels))
detect.close()
