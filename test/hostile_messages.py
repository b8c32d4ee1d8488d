"""Result messages that no detector publishes."""

from __future__ import annotations

from vision_msgs.msg import Detection2D, Detection2DArray, ObjectHypothesisWithPose

INF, NAN = float('inf'), float('nan')


def array(
    class_id: str = '1',
    score: float = 0.5,
    box: tuple[float, float, float, float] = (5, 5, 4, 4),
    hypotheses: int = 1,
) -> Detection2DArray:
    item = Detection2D()
    item.bbox.center.position.x, item.bbox.center.position.y = map(float, box[:2])
    item.bbox.size_x, item.bbox.size_y = map(float, box[2:])
    result = ObjectHypothesisWithPose()
    result.hypothesis.class_id, result.hypothesis.score = class_id, score
    item.results = [result] * hypotheses
    return Detection2DArray(detections=[item])


HOSTILE = {
    'infinite box': array(box=(INF, 0, 1, 1)),
    'NaN size': array(box=(0, 0, NAN, 1)),
    'huge box': array(box=(1e308, 0, 1e308, 1)),
    'negative size': array(box=(5, 5, -1, 4)),
    'NaN score': array(score=NAN),
    'class of 32 bits': array(class_id=str(2**31)),
    'class of 5,000 digits': array(class_id='9' * 5000),
    'class of a megabyte': array(class_id='x' * 1_000_000),
    'class of foreign digits': array(class_id='٣' * 5000),
    'no hypothesis': array(hypotheses=0),
}
