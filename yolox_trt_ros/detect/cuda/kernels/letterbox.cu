// Camera images to the network's input in one launch: colour, resize, letterbox, layout and type
// conversion never visit memory in between.
#include "image.cuh"

constexpr int kRows = 2;  // output rows of a thread, which also has two columns

enum Layout { kPlanar, kBlocks16, kBlocks32, kInterleaved4 };

// Where the pixels go, and what a pixel value becomes: multiply * value + add, per channel.
struct Target {
  void* data;         // of the first image
  int width, height;  // of the network's input; the width is even
  int pad;            // pixel value of the letterbox border
  float multiply[3], add[3];
};

template <class T, int N> struct alignas(sizeof(T) * N > 16 ? 16 : sizeof(T) * N) Vector {
  T value[N];
};

template <class T, int L> struct Store;

// [images, 3, height, width]
template <class T> struct Store<T, kPlanar> {
  static DEVICE void write(const Target& t, int image, int x, int y, const float (&value)[2][3]) {
    const long long plane = static_cast<long long>(t.height) * t.width;
    T* out = static_cast<T*>(t.data) + image * 3 * plane + static_cast<long long>(y) * t.width + x;
    for (int c = 0; c < 3; ++c) {
      const Vector<T, 2> both{{convert<T>(value[0][c]), convert<T>(value[1][c])}};
      *reinterpret_cast<Vector<T, 2>*>(out + c * plane) = both;
    }
  }
};

// [images, height, width, N]: the channels of one pixel lie together, zeros behind the third.
template <class T, int N> struct StoreBlocks {
  static DEVICE void write(const Target& t, int image, int x, int y, const float (&value)[2][3]) {
    T* out = static_cast<T*>(t.data);
    out += ((static_cast<long long>(image) * t.height + y) * t.width + x) * N;
    for (int p = 0; p < 2; ++p) {
      Vector<T, N> pixel{};
      for (int c = 0; c < 3; ++c) {
        pixel.value[c] = convert<T>(value[p][c]);
      }
      reinterpret_cast<Vector<T, N>*>(out)[p] = pixel;
    }
  }
};

template <class T> struct Store<T, kBlocks16> : StoreBlocks<T, 16> {};
template <class T> struct Store<T, kBlocks32> : StoreBlocks<T, 32> {};
template <class T> struct Store<T, kInterleaved4> : StoreBlocks<T, 4> {};

typedef Colour Patch[kRows][2];

// All pixels of a thread, from (x, y) of the image on, in one go, so that their loads are under way together. With `Area`, images
// that shrink by more than two are averaged.
template <int F, bool Area> DEVICE void sample(const Image& image, int x, int y, Patch& out) {
  const int column[2] = {clamp(x, 0, image.out_width - 1), clamp(x + 1, 0, image.out_width - 1)};
  const Tap across[2] = {image.across[column[0]], image.across[column[1]]};
  const bool shrinks = max(image.scale_x, image.scale_y) > 2LL << 32 &&
                       min(image.scale_x, image.scale_y) >= 1LL << 32;
#pragma unroll
  for (int r = 0; r < kRows; ++r) {
    const int row = clamp(y + r, 0, image.out_height - 1);
    const Tap down = image.down[row];
#pragma unroll
    for (int p = 0; p < 2; ++p) {
      out[r][p] = Area && shrinks ? area<F>(image, column[p], row)
                                  : bilinear<F>(image, across[p], down);
    }
  }
}

template <bool Area> DEVICE void sample_any(const Image& image, int x, int y, Patch& out) {
#define CASE(reader) case reader: return sample<reader, Area>(image, x, y, out);
  switch (image.format) { PIXEL_READERS(CASE) }
#undef CASE
}

// Blocks that a multiprocessor is to hold: as many as there are registers for without spilling.
template <int L, bool Area> constexpr int kResident = !Area ? 10 : L == kPlanar ? 5 : 4;

// Grid: x covers pairs of columns, y groups of kRows rows, z images.
template <class T, int L, bool Area>
__global__ void __launch_bounds__(128, (kResident<L, Area>))
    letterbox(const Batch* __restrict__ batch, const Target target) {
  const int x = 2 * (blockIdx.x * blockDim.x + threadIdx.x);
  const int y = kRows * (blockIdx.y * blockDim.y + threadIdx.y);
  const int place = blockIdx.z;
  if (x >= target.width || place >= batch->images) return;
  const Image image = batch->image[place];
  Patch patch = {};
  // Of the image, where the patch begins; it may begin a pixel before.
  const int u = x - image.left, v = y - image.top;
  if (u > -2 && v > -kRows && u < image.out_width && v < image.out_height) {
    sample_any<Area>(image, u, v, patch);
  }
#pragma unroll
  for (int r = 0; r < kRows; ++r) {
    if (y + r >= target.height) return;
    float value[2][3];
    for (int p = 0; p < 2; ++p) {
      const bool inside = u + p >= 0 && u + p < image.out_width && v + r >= 0 &&
                          v + r < image.out_height;
      for (int c = 0; c < 3; ++c) {
        const Colour& colour = patch[r][p];
        const int from = image.swap ? colour.channel[2 - c] : colour.channel[c];
        value[p][c] = (inside ? from : target.pad) * target.multiply[c] + target.add[c];
      }
    }
    Store<T, L>::write(target, place, x, y + r, value);
  }
}
