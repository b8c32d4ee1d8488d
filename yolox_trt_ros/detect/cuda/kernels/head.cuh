// Reading a YOLOX head where the network left it, one anchor at a time.
//
// Conventions are YOLOX's own: score = objectness x class probability, box = (offset + cell) x
// stride and exp(size) x stride (decode_outputs in yolox/models/yolo_head.py).
#pragma once
#include "batch.cuh"

constexpr int kLevels = 4;
constexpr float kFarthest = 1e6f;  // input pixels; FARTHEST in cpu/postprocess.py

// One stride of the head; postprocess.py holds the same layout as a NumPy type.
struct Level {
  const void* box;         // maps: [images, 4, cells]; concatenated: the one output, at each level
  const void* objectness;  // maps: [images, 1, cells]
  const void* classes;     // maps: [images, classes, cells]
  int first;               // anchor number of this level's first cell
  int cells, columns;
  float stride;
};

struct Head {
  Level level[kLevels];
  int levels, anchors, classes;
  int logits;  // scores are logits, not probabilities
  int grid;    // boxes are relative to their cell and stride, not pixels
};

struct alignas(16) Box {
  float x1, y1, x2, y2;
};

DEVICE int level_of(const Head& head, int anchor) {
  int level = 0;
  while (level + 1 < head.levels && anchor >= head.level[level + 1].first) ++level;
  return level;
}

// Whether the head is one tensor [images, anchors, 5 + classes] or three maps per level.
enum HeadLayout { kConcatenated, kMaps };

template <class T, int L> struct Reader;

template <class T> struct Reader<T, kConcatenated> {
  static DEVICE float at(const Head& head, int image, int anchor, int column) {
    const long long row = static_cast<long long>(image) * head.anchors + anchor;
    return to_float(static_cast<const T*>(head.level[0].box)[row * (5 + head.classes) + column]);
  }
  static DEVICE float box(const Head& head, int, int image, int anchor, int k) {
    return at(head, image, anchor, k);
  }
  static DEVICE float objectness(const Head& head, int, int image, int anchor) {
    return at(head, image, anchor, 4);
  }
  static DEVICE float score(const Head& head, int, int image, int anchor, int c) {
    return at(head, image, anchor, 5 + c);
  }
};

template <class T> struct Reader<T, kMaps> {
  static DEVICE float at(const void* map, const Level& level, int row, int anchor) {
    const long long place = static_cast<long long>(row) * level.cells + anchor - level.first;
    return to_float(static_cast<const T*>(map)[place]);
  }
  static DEVICE float box(const Head& head, int l, int image, int anchor, int k) {
    return at(head.level[l].box, head.level[l], image * 4 + k, anchor);
  }
  static DEVICE float objectness(const Head& head, int l, int image, int anchor) {
    return at(head.level[l].objectness, head.level[l], image, anchor);
  }
  static DEVICE float score(const Head& head, int l, int image, int anchor, int c) {
    return at(head.level[l].classes, head.level[l], image * head.classes + c, anchor);
  }
};

DEVICE float probability(const Head& head, float score) {
  return head.logits ? 1.0f / (1.0f + expf(-score)) : score;
}

// Returns the box in source pixels; `ok` is false if it is undefined or so large that it is none.
template <class T, int L>
DEVICE Box decode_box(const Head& head, int l, int image, int anchor, float letterbox, bool& ok) {
  typedef Reader<T, L> Read;
  float x = Read::box(head, l, image, anchor, 0), y = Read::box(head, l, image, anchor, 1);
  float width = Read::box(head, l, image, anchor, 2), height = Read::box(head, l, image, anchor, 3);
  if (head.grid) {
    const Level& level = head.level[l];
    const int cell = anchor - level.first, row = cell / level.columns;
    x = (x + static_cast<float>(cell - row * level.columns)) * level.stride;
    y = (y + static_cast<float>(row)) * level.stride;
    width = expf(width) * level.stride;
    height = expf(height) * level.stride;
  }
  ok = fabsf(x) < kFarthest && fabsf(y) < kFarthest && fabsf(width) < kFarthest &&
       fabsf(height) < kFarthest;
  const float half_width = width / 2, half_height = height / 2;
  return {(x - half_width) / letterbox, (y - half_height) / letterbox,
          (x + half_width) / letterbox, (y + half_height) / letterbox};
}

// Ascending order of these keys is the order of detections: best score first, then lowest anchor,
// then lowest class. Scores are positive, so their bits sort like their values.
DEVICE unsigned long long key_of(float score, unsigned place) {
  return static_cast<unsigned long long>(~__float_as_uint(score)) << 32 | place;
}

DEVICE float score_of(unsigned long long key) {
  return __uint_as_float(~static_cast<unsigned>(key >> 32));
}

DEVICE bool overlaps(const Box& a, const Box& b, float iou) {
  const float width = fminf(a.x2, b.x2) - fmaxf(a.x1, b.x1);
  const float height = fminf(a.y2, b.y2) - fmaxf(a.y1, b.y1);
  const float both = fmaxf(width, 0.0f) * fmaxf(height, 0.0f);
  const float area_a = (a.x2 - a.x1) * (a.y2 - a.y1), area_b = (b.x2 - b.x1) * (b.y2 - b.y1);
  return both > iou * (area_a + area_b - both);
}
