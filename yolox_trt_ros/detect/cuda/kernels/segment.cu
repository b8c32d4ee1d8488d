// The class of each cell of a network's segmentation map, of the cells that the image covers.
#include "batch.cuh"

constexpr int kCells = 4;  // of a thread, next to each other in the mask

// Which cells of its map an image covers; a width of 0: nobody wants its mask.
struct Window {
  int left, top, width, height;
};

// What class numbers and scores are compared as: integers stay what they are.
DEVICE float number(float value) { return value; }
DEVICE float number(Half value) { return to_float(value); }
DEVICE long long number(int value) { return value; }
DEVICE long long number(long long value) { return value; }
DEVICE long long number(unsigned char value) { return value; }

DEVICE unsigned as_byte(float value) {
  return static_cast<unsigned>(fminf(fmaxf(value, 0.0f), 255.0f));  // NaN is 0
}
DEVICE unsigned as_byte(long long value) {
  return static_cast<unsigned>(value < 0 ? 0 : value > 255 ? 255 : value);
}

// The class with the highest score, of equals the first; a NaN is never highest.
template <class T> DEVICE unsigned highest(const T* cell, int classes, long long plane) {
  float best = number(cell[0]);
  unsigned chosen = 0;
  if (!(best == best)) best = __uint_as_float(0xff800000u);  // minus infinity
  for (int c = 1; c < classes; ++c) {
    const float score = number(cell[c * plane]);
    if (score > best) {
      best = score;
      chosen = c;
    }
  }
  return chosen;
}

// Grid: x covers cells by kCells, y images. `masks` has room for a whole map of each image; an
// image's mask begins there, without gaps.
//
// map: [images, classes, height, width] of scores, or [images, height, width] of class numbers,
// which `Numbers` says.
template <class T, bool Numbers>
__global__ void segment(const Window* windows, const T* __restrict__ map, int classes, int height,
                        int width, unsigned char* masks) {
  const Window window = windows[blockIdx.y];
  const long long count = static_cast<long long>(window.width) * window.height;
  const long long first = static_cast<long long>(blockIdx.x * blockDim.x + threadIdx.x) * kCells;
  if (first >= count) return;
  const long long plane = static_cast<long long>(height) * width;
  const long long image = blockIdx.y;
  map += image * plane * (Numbers ? 1 : classes);
  unsigned char* out = masks + image * plane + first;
  for (int k = 0; k < kCells && first + k < count; ++k) {
    const int y = static_cast<int>((first + k) / window.width);
    const int x = static_cast<int>((first + k) % window.width);
    const T* cell = map + static_cast<long long>(window.top + y) * width + window.left + x;
    out[k] = static_cast<unsigned char>(Numbers ? as_byte(number(*cell))
                                                : highest(cell, classes, plane));
  }
}
