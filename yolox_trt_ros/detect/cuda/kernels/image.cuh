// Reading camera images: any supported encoding, any size, any alignment.
//
// Arithmetic is that of OpenCV on 8-bit images, integer for integer: BT.601 video range in 20
// fractional bits, two-tap demosaicing, bilinear weights of 11 bits. A detector that was tuned on
// one path then sees the same pixels on the other.
#pragma once
#include "batch.cuh"

// A pixel reader is a name here and a `fetch` of that name below; pixel_formats.py says which one an
// encoding needs.
#define PIXEL_READERS(USE) \
  USE(kPacked3) USE(kPacked4) USE(kMono) USE(kUyvy) USE(kYuyv) USE(kNv12) USE(kNv24) USE(kI420) \
  USE(kBayer)

#define NAME(reader) reader,
enum Format { PIXEL_READERS(NAME) };
#undef NAME

// Channels of two neighbouring pixels: byte 0 is the left one's, byte 1 the right one's; the upper
// two bytes are undefined.
struct Pair {
  unsigned channel[3];
};

struct Colour {
  int channel[3];
};

struct Bytes {
  unsigned lo, hi;
};

// Returns `count` bytes behind an offset from the image's first, at most 8, by aligned words; no
// word is touched that holds none of them. Bytes above `count` are undefined.
DEVICE Bytes load_bytes(const Image& image, unsigned offset, int count) {
  const unsigned long long data = reinterpret_cast<unsigned long long>(image.data);
  const unsigned at = static_cast<unsigned>(data & 3) + offset, skip = at & 3;
  const unsigned* word = reinterpret_cast<const unsigned*>((data & ~3ull) + (at & ~3u));
  const unsigned first = __ldg(word);
  const unsigned second = skip + count > 4 ? __ldg(word + 1) : 0;
  const unsigned third = skip + count > 8 ? __ldg(word + 2) : 0;
  return {__funnelshift_r(first, second, at * 8), __funnelshift_r(second, third, at * 8)};
}

DEVICE int clamp(int value, int low, int high) { return min(max(value, low), high); }

DEVICE int byte_of(unsigned word, int index) { return (word >> (8 * index)) & 0xff; }

DEVICE Pair pair_of(Colour left, Colour right) {
  Pair pair;
  for (int c = 0; c < 3; ++c) {
    pair.channel[c] = left.channel[c] | right.channel[c] << 8;
  }
  return pair;
}

// ITU-R BT.601, video range: coefficients times 2^20.
DEVICE Colour bgr_of_yuv(int y, int u, int v) {
  const int luma = max(y - 16, 0) * 1220542 + (1 << 19);
  u -= 128;
  v -= 128;
  return {clamp((luma + 2116026 * u) >> 20, 0, 255),
          clamp((luma - 409993 * u - 852492 * v) >> 20, 0, 255),
          clamp((luma + 1673527 * v) >> 20, 0, 255)};
}

// The functions below return pixels (x, y) and (x + 1, y); x + 1 lies in the image unless that is
// one pixel wide, in which case the right pixel is undefined.
template <int F> DEVICE Pair fetch(const Image& image, int x, int y);

template <> DEVICE Pair fetch<kPacked3>(const Image& image, int x, int y) {
  const Bytes b = load_bytes(image, y * image.step + 3 * x, 6);
  return {__byte_perm(b.lo, b.hi, 0x30), __byte_perm(b.lo, b.hi, 0x41),
          __byte_perm(b.lo, b.hi, 0x52)};
}

template <> DEVICE Pair fetch<kPacked4>(const Image& image, int x, int y) {
  const Bytes b = load_bytes(image, y * image.step + 4 * x, 8);
  return {__byte_perm(b.lo, b.hi, 0x40), __byte_perm(b.lo, b.hi, 0x51),
          __byte_perm(b.lo, b.hi, 0x62)};
}

template <> DEVICE Pair fetch<kMono>(const Image& image, int x, int y) {
  const unsigned grey = load_bytes(image, y * image.step + x, 2).lo;
  return {grey, grey, grey};
}

// 4:2:2 with two pixels in four bytes; `luma` and `u` are the places of Y and U among them.
DEVICE Pair fetch_yuv422(const Image& image, int x, int y, int luma, int u) {
  const bool odd = x & 1;
  const Bytes b = load_bytes(image, y * image.step + 2 * (x - odd), odd ? 8 : 4);
  const unsigned right = odd ? b.hi : b.lo;
  return pair_of(
      bgr_of_yuv(byte_of(b.lo, luma + 2 * odd), byte_of(b.lo, u), byte_of(b.lo, u + 2)),
      bgr_of_yuv(byte_of(right, luma + 2 * !odd), byte_of(right, u), byte_of(right, u + 2)));
}

template <> DEVICE Pair fetch<kUyvy>(const Image& image, int x, int y) {
  return fetch_yuv422(image, x, y, 1, 0);
}

template <> DEVICE Pair fetch<kYuyv>(const Image& image, int x, int y) {
  return fetch_yuv422(image, x, y, 0, 1);
}

// Two pixels of planes with interleaved chroma; `right` is the place of the right one's among `uv`.
DEVICE Pair pair_of_planes(const Image& image, unsigned luma, unsigned uv, int right) {
  const int u = image.order, v = 1 - u;
  return pair_of(bgr_of_yuv(byte_of(luma, 0), byte_of(uv, u), byte_of(uv, v)),
                 bgr_of_yuv(byte_of(luma, 1), byte_of(uv, right + u), byte_of(uv, right + v)));
}

template <> DEVICE Pair fetch<kNv12>(const Image& image, int x, int y) {
  const unsigned luma = load_bytes(image, y * image.step + x, 2).lo;
  const bool odd = x & 1;
  const int chroma = (image.height + y / 2) * image.step + (x - odd);
  const unsigned uv = load_bytes(image, chroma, odd ? 4 : 2).lo;
  return pair_of_planes(image, luma, uv, odd ? 2 : 0);
}

// Chroma for each pixel, in rows of twice the step.
template <> DEVICE Pair fetch<kNv24>(const Image& image, int x, int y) {
  const int count = x + 1 < image.width ? 2 : 1;
  const unsigned luma = load_bytes(image, y * image.step + x, count).lo;
  const unsigned chroma = (image.height + 2 * y) * image.step + 2 * x;
  return pair_of_planes(image, luma, load_bytes(image, chroma, 2 * count).lo, 2);
}

// Two chroma planes, in rows of half the step.
template <> DEVICE Pair fetch<kI420>(const Image& image, int x, int y) {
  const unsigned luma = load_bytes(image, y * image.step + x, 2).lo;
  const bool odd = x & 1;
  const int step = image.step / 2, plane = image.height / 2 * step;
  const int first = image.height * image.step + y / 2 * step + x / 2;
  const unsigned a = load_bytes(image, first, 1 + odd).lo;
  const unsigned b = load_bytes(image, first + plane, 1 + odd).lo;
  const unsigned u = image.order ? b : a, v = image.order ? a : b;
  return pair_of(bgr_of_yuv(byte_of(luma, 0), byte_of(u, 0), byte_of(v, 0)),
                 bgr_of_yuv(byte_of(luma, 1), byte_of(u, odd), byte_of(v, odd)));
}

// Bilinear demosaicing of the pixel whose 3 x 3 neighbourhood starts at byte `at` of three rows.
// `red_x` and `red_y` say whether it shares its column and its row with red.
DEVICE Colour demosaic(unsigned above, unsigned row, unsigned below, int at, bool red_x, bool red_y) {
  const int centre = byte_of(row, at + 1);
  const int across = byte_of(row, at) + byte_of(row, at + 2);
  const int upright = byte_of(above, at + 1) + byte_of(below, at + 1);
  if (red_x != red_y) {  // green
    const int horizontal = (across + 1) >> 1, vertical = (upright + 1) >> 1;
    return {red_y ? vertical : horizontal, centre, red_y ? horizontal : vertical};
  }
  const int corners =
      byte_of(above, at) + byte_of(above, at + 2) + byte_of(below, at) + byte_of(below, at + 2);
  const int green = (across + upright + 2) >> 2, other = (corners + 2) >> 2;
  return {red_x ? other : centre, green, red_x ? centre : other};
}

// Pixels on the border have no whole neighbourhood and repeat their inner neighbours; where there are
// none, OpenCV gives black.
template <> DEVICE Pair fetch<kBayer>(const Image& image, int x, int y) {
  if (image.width < 3 || image.height < 3) return {};
  const int left = clamp(x, 1, image.width - 2), right = clamp(x + 1, 1, image.width - 2);
  const int middle = clamp(y, 1, image.height - 2);
  const int row = middle * image.step + left - 1, count = right - left + 3;
  const unsigned above = load_bytes(image, row - image.step, count).lo;
  const unsigned centre = load_bytes(image, row, count).lo;
  const unsigned below = load_bytes(image, row + image.step, count).lo;
  const bool red_y = ((middle ^ (image.order >> 1)) & 1) == 0;
  return pair_of(
      demosaic(above, centre, below, 0, ((left ^ image.order) & 1) == 0, red_y),
      demosaic(above, centre, below, right - left, ((right ^ image.order) & 1) == 0, red_y));
}

// Bilinear interpolation between two taps, channels in source order.
template <int F> DEVICE Colour bilinear(const Image& image, const Tap& across, const Tap& down) {
  const int last = image.part_top + image.part_height - 1;
  const Pair upper = fetch<F>(image, across.first, max(down.first, image.part_top));
  const Pair lower = fetch<F>(image, across.first, min(down.first + 1, last));
  const unsigned weights = (2048 - across.weight) | across.weight << 16;
  Colour colour;
  for (int c = 0; c < 3; ++c) {
    const int above = __dp2a_lo(weights, upper.channel[c], 0u) >> 4;
    const int below = __dp2a_lo(weights, lower.channel[c], 0u) >> 4;
    colour.channel[c] =
        ((above * (2048 - down.weight) >> 16) + (below * down.weight >> 16) + 2) >> 2;
  }
  return colour;
}

// Share of source pixel `at` in the span [begin, end), all in 32 fractional bits.
DEVICE float covered(long long begin, long long end, int at) {
  const long long left = static_cast<long long>(at) << 32, right = left + (1LL << 32);
  return static_cast<float>(min(end, right) - max(begin, left)) * 0x1p-32f;
}

// Mean of the source area that output pixel (x, y) stands for: no aliasing at scales above 2.
template <int F> DEVICE Colour area(const Image& image, int x, int y) {
  const long long first_x = static_cast<long long>(image.part_left) << 32;
  const long long first_y = static_cast<long long>(image.part_top) << 32;
  const long long end_x = first_x + (static_cast<long long>(image.part_width) << 32);
  const long long end_y = first_y + (static_cast<long long>(image.part_height) << 32);
  const long long left = first_x + x * image.scale_x, top = first_y + y * image.scale_y;
  const long long right = min(left + image.scale_x, end_x);
  const long long bottom = min(top + image.scale_y, end_y);
  float sum[3] = {0, 0, 0}, total = 0;
  for (int v = static_cast<int>(top >> 32); v <= static_cast<int>((bottom - 1) >> 32); ++v) {
    const float share = covered(top, bottom, v);
    for (int u = static_cast<int>(left >> 32); u <= static_cast<int>((right - 1) >> 32); ++u) {
      const float weight = share * covered(left, right, u);
      const bool last = u > 0 && u == image.width - 1;  // a pair must not begin in the last column
      const Pair pair = fetch<F>(image, u - last, v);
      for (int c = 0; c < 3; ++c) {
        sum[c] += weight * byte_of(pair.channel[c], last);
      }
      total += weight;
    }
  }
  Colour colour;
  for (int c = 0; c < 3; ++c) {
    colour.channel[c] = __float2int_rn(sum[c] / total);
  }
  return colour;
}
