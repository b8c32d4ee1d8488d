// Reading a YOLOX head where the network left it, one anchor at a time.
//
// Conventions are YOLOX's own: score = objectness x class probability, box = (offset + cell) x
// stride and exp(size) x stride (decode_outputs in yolox/models/yolo_head.py).
#include "head.cuh"

constexpr int kLevels = 4;

// One stride of the head; heads/yolox/head.py holds the same layout as a NumPy type.
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

DEVICE int level_of(const Head& head, int anchor) {
  int level = 0;
  while (level + 1 < head.levels && anchor >= head.level[level + 1].first) ++level;
  return level;
}

// What decode.cuh asks for, by the numbers that Columns finds: side(…, 0 to 3), objectness, raw.
template <class Columns> struct Yolox {
  static DEVICE float first(const Head& head, int l, int image, int anchor) {
    return Columns::objectness(head, l, image, anchor);
  }
  static DEVICE float confidence(const Head& head, int l, int image, int anchor) {
    return probability(head, Columns::objectness(head, l, image, anchor));
  }
  static DEVICE float probability(const Head& head, float score) {
    return head.logits ? 1.0f / (1.0f + expf(-score)) : score;
  }
  static DEVICE bool single(const Head&) { return false; }
  static DEVICE float score(const Head& head, float confidence, float raw) {
    return confidence * probability(head, raw);
  }
  static DEVICE Box box(const Head& head, int l, int image, int anchor, const Fit& fit, bool& ok) {
    float x = Columns::side(head, l, image, anchor, 0);
    float y = Columns::side(head, l, image, anchor, 1);
    float width = Columns::side(head, l, image, anchor, 2);
    float height = Columns::side(head, l, image, anchor, 3);
    if (head.grid) {
      const Level& level = head.level[l];
      const int cell = anchor - level.first, row = cell / level.columns;
      x = (x + static_cast<float>(cell - row * level.columns)) * level.stride;
      y = (y + static_cast<float>(row)) * level.stride;
      width = expf(width) * level.stride;
      height = expf(height) * level.stride;
    }
    return source_box(x, y, width, height, fit, ok);
  }
};

// The head is one tensor [images, anchors, 5 + classes].
template <class T> struct Concatenated : Yolox<Concatenated<T>> {
  static DEVICE float at(const Head& head, int image, int anchor, int column) {
    const long long row = static_cast<long long>(image) * head.anchors + anchor;
    return to_float(static_cast<const T*>(head.level[0].box)[row * (5 + head.classes) + column]);
  }
  static DEVICE float side(const Head& head, int, int image, int anchor, int k) {
    return at(head, image, anchor, k);
  }
  static DEVICE float objectness(const Head& head, int, int image, int anchor) {
    return at(head, image, anchor, 4);
  }
  static DEVICE float raw(const Head& head, int, int image, int anchor, int c) {
    return at(head, image, anchor, 5 + c);
  }
};

// The head is three maps per level.
template <class T> struct Maps : Yolox<Maps<T>> {
  static DEVICE float at(const void* map, const Level& level, int row, int anchor) {
    const long long place = static_cast<long long>(row) * level.cells + anchor - level.first;
    return to_float(static_cast<const T*>(map)[place]);
  }
  static DEVICE float side(const Head& head, int l, int image, int anchor, int k) {
    return at(head.level[l].box, head.level[l], image * 4 + k, anchor);
  }
  static DEVICE float objectness(const Head& head, int l, int image, int anchor) {
    return at(head.level[l].objectness, head.level[l], image, anchor);
  }
  static DEVICE float raw(const Head& head, int l, int image, int anchor, int c) {
    return at(head.level[l].classes, head.level[l], image * head.classes + c, anchor);
  }
};

#include "decode.cuh"
