// Reading dense heads where the network left them, one anchor at a time: a box and scores for each
// of many anchors, in any order of axes. Which numbers a box has is the reader's; heads/dense/head.py
// says what they mean.
#include "head.cuh"

constexpr int kLevels = 16;
constexpr float kMost = 3.402823466e+38f;

// Where one kind of number stands; distances count numbers.
struct Tensor {
  const void* data;
  long long image, offset;  // from one image to the next; of the first number in an image
  int channel, anchor;      // from one channel, or one anchor, to the next
};

struct Level {
  Tensor box, objectness, scores;
  int first;  // anchor number of this level's first
  int anchors, columns;
  float stride[2];  // input pixels per cell, across and down
  float size[2];    // of its anchor box, input pixels
  float reach;      // by what the offset from a cell of anchor boxes is stretched
};

enum Number { kOwn, kInt32, kInt64 };
enum Scores { kProbability, kLogit, kSoftmax };

// heads/dense/head.py holds the same layout as a NumPy type.
struct Head {
  Level level[kLevels];
  int levels, anchors, classes;
  int scores, objectness;  // a Scores; whether there is objectness
  int bins, pixels, exponential, squashed;
  float offset, unit[2];
  Tensor labels;      // of final boxes: the class of each
  const void* count;  // of final boxes: how many of each image are valid; null: all are
  int label_type, count_type;  // a Number
};

DEVICE int level_of(const Head& head, int anchor) {
  int level = 0;
  while (level + 1 < head.levels && anchor >= head.level[level + 1].first) ++level;
  return level;
}

// Returns the box of a centre and a size.
DEVICE Box centre_box(float x, float y, float width, float height, const Fit& fit, bool& ok) {
  const float half_width = width / 2, half_height = height / 2;
  return source_corners(x - half_width, y - half_height, x + half_width, y + half_height, fit, ok);
}

DEVICE float sigmoid(float x) { return 1.0f / (1.0f + expf(-x)); }

// What decode.cuh asks for but the box, for outputs of type T.
template <class T> struct Dense {
  // An anchor's numbers of one kind.
  struct Numbers {
    const T* first;
    int step;
    DEVICE float operator[](int channel) const { return to_float(first[channel * step]); }
  };
  static DEVICE Numbers numbers(const Tensor& tensor, int image, int anchor) {
    const T* data = static_cast<const T*>(tensor.data) + tensor.offset + image * tensor.image;
    return {data + static_cast<long long>(anchor) * tensor.anchor, tensor.channel};
  }
  static DEVICE float best(const Numbers& scores, int count) {
    float most = -kMost;
#pragma unroll 16
    for (int c = 0; c < count; ++c) most = fmaxf(most, scores[c]);
    return most;
  }
  static DEVICE float first(const Head& head, int l, int image, int anchor) {
    const Level& level = head.level[l];
    if (head.scores == kSoftmax) return kMost;  // it takes all of them
    if (head.objectness) return numbers(level.objectness, image, anchor - level.first)[0];
    return best(numbers(level.scores, image, anchor - level.first), head.classes);
  }
  // Of a softmax: the logarithm of what all classes, and nothing, sum up to.
  static DEVICE float confidence(const Head& head, int l, int image, int anchor) {
    const Level& level = head.level[l];
    if (head.objectness) {
      return probability(head, numbers(level.objectness, image, anchor - level.first)[0]);
    }
    if (head.scores != kSoftmax) return 1;
    const Numbers scores = numbers(level.scores, image, anchor - level.first);
    const float most = best(scores, head.classes + 1);
    float sum = 0;
    for (int c = 0; c <= head.classes; ++c) sum += expf(scores[c] - most);
    return most + logf(sum);
  }
  static DEVICE float raw(const Head& head, int l, int image, int anchor, int c) {
    const Level& level = head.level[l];
    return numbers(level.scores, image, anchor - level.first)[c];
  }
  static DEVICE float probability(const Head& head, float raw) {
    return head.scores == kLogit ? sigmoid(raw) : raw;
  }
  static DEVICE bool single(const Head& head) { return head.scores == kSoftmax; }
  static DEVICE float score(const Head& head, float confidence, float raw) {
    if (head.scores == kSoftmax) return expf(raw - confidence);
    return confidence * probability(head, raw);
  }
};

// Centre and size.
template <class T> struct Centre : Dense<T> {
  static DEVICE Box box(const Head& head, int l, int image, int anchor, const Fit& fit, bool& ok) {
    const Level& level = head.level[l];
    const auto n = Dense<T>::numbers(level.box, image, anchor - level.first);
    const float across = head.unit[0], down = head.unit[1];
    return centre_box(n[0] * across, n[1] * down, n[2] * across, n[3] * down, fit, ok);
  }
};

template <class T> struct Corners : Dense<T> {
  static DEVICE Box box(const Head& head, int l, int image, int anchor, const Fit& fit, bool& ok) {
    const Level& level = head.level[l];
    const auto n = Dense<T>::numbers(level.box, image, anchor - level.first);
    const float across = head.unit[0], down = head.unit[1];
    return source_corners(n[0] * across, n[1] * down, n[2] * across, n[3] * down, fit, ok);
  }
};

// Distances of the sides from a point in the cell, in cells or in pixels.
template <class T> struct Distances : Dense<T> {
  static DEVICE float distance(const Head& head, const typename Dense<T>::Numbers& n, int side,
                               float unit) {
    const int begin = side * head.bins;
    float value = n[begin];
    if (head.bins > 1) {
      float most = value, sum = 0, weighted = 0;
      for (int i = 1; i < head.bins; ++i) most = fmaxf(most, n[begin + i]);
      for (int i = 0; i < head.bins; ++i) {
        const float share = expf(n[begin + i] - most);
        sum += share;
        weighted += share * i;
      }
      value = weighted / sum;
    }
    return value * unit;
  }
  static DEVICE Box box(const Head& head, int l, int image, int anchor, const Fit& fit, bool& ok) {
    const Level& level = head.level[l];
    const int cell = anchor - level.first, row = cell / level.columns;
    const auto n = Dense<T>::numbers(level.box, image, cell);
    const float across = level.stride[0], down = level.stride[1];
    const float x = (static_cast<float>(cell - row * level.columns) + head.offset) * across;
    const float y = (static_cast<float>(row) + head.offset) * down;
    const float one_x = head.pixels ? 1 : across, one_y = head.pixels ? 1 : down;
    return source_corners(x - distance(head, n, 0, one_x), y - distance(head, n, 1, one_y),
                          x + distance(head, n, 2, one_x), y + distance(head, n, 3, one_y), fit,
                          ok);
  }
};

// YOLOX's offset and log size, in cells.
template <class T> struct Grid : Dense<T> {
  static DEVICE Box box(const Head& head, int l, int image, int anchor, const Fit& fit, bool& ok) {
    const Level& level = head.level[l];
    const int cell = anchor - level.first, row = cell / level.columns;
    const auto n = Dense<T>::numbers(level.box, image, cell);
    const float x = n[0] + static_cast<float>(cell - row * level.columns);
    const float y = n[1] + static_cast<float>(row);
    const float across = level.stride[0], down = level.stride[1];
    return centre_box(x * across, y * down, expf(n[2]) * across, expf(n[3]) * down, fit, ok);
  }
};

// Offset in the cell and factor of the level's anchor box.
template <class T> struct Anchors : Dense<T> {
  static DEVICE float factor(const Head& head, float number) {
    if (head.exponential) return expf(number);
    const float root = head.squashed ? sigmoid(number) : number;
    return 4 * root * root;
  }
  static DEVICE Box box(const Head& head, int l, int image, int anchor, const Fit& fit, bool& ok) {
    const Level& level = head.level[l];
    const int cell = anchor - level.first, row = cell / level.columns;
    const auto n = Dense<T>::numbers(level.box, image, cell);
    const float before = (level.reach - 1) / 2;
    const float x = (head.squashed ? sigmoid(n[0]) : n[0]) * level.reach - before;
    const float y = (head.squashed ? sigmoid(n[1]) : n[1]) * level.reach - before;
    return centre_box((x + static_cast<float>(cell - row * level.columns)) * level.stride[0],
                      (y + static_cast<float>(row)) * level.stride[1],
                      factor(head, n[2]) * level.size[0], factor(head, n[3]) * level.size[1], fit,
                      ok);
  }
};

// Final boxes: corners, a score, and the number of a class.
template <class T> struct Final : Corners<T> {
  // A number as an integer; of no class if it is none.
  static DEVICE int integer(const void* data, long long place, int type) {
    if (type == kInt32) return static_cast<const int*>(data)[place];
    if (type == kInt64) return static_cast<int>(static_cast<const long long*>(data)[place]);
    const float value = to_float(static_cast<const T*>(data)[place]);
    return value >= 0 && value < 1e6f ? static_cast<int>(value) : -1;
  }
  static DEVICE float first(const Head& head, int l, int image, int anchor) {
    if (head.count && anchor >= integer(head.count, image, head.count_type)) return -kMost;
    return Dense<T>::numbers(head.level[l].scores, image, anchor)[0];
  }
  static DEVICE float raw(const Head& head, int l, int image, int anchor, int c) {
    const Tensor& labels = head.labels;
    const long long place = labels.offset + image * labels.image +
                            static_cast<long long>(anchor) * labels.anchor;
    if (integer(labels.data, place, head.label_type) != c) return 0;
    return Dense<T>::numbers(head.level[l].scores, image, anchor)[0];
  }
};

#include "decode.cuh"
