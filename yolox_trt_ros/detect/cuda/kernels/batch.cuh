// What the host tells the kernels of one batch. It comes by pointer, so that a launch recorded in a
// CUDA graph can be replayed for other images and thresholds. batch.py holds the same layout as
// NumPy types.
#pragma once
#include "device.cuh"

constexpr int kImages = 64;

// Two neighbouring source positions, and the second one's weight in 1/2048.
struct alignas(8) Tap {
  int first;
  int weight;
};

// A source image and how it sits in the network's input.
struct Image {
  const unsigned char* data;
  const Tap* across;           // of each output column, an even number of them, all in the part
  const Tap* down;             // of each output row; the first or the last may be half outside
  long long scale_x, scale_y;  // source pixels per output pixel, 32 fractional bits
  int step, width, height;     // bytes, pixels
  int out_width, out_height;   // pixels that the part covers in the network's input
  int format;
  int order;                   // Bayer: where red sits, x in bit 0, y in bit 1; planes: V before U
  int swap;                    // channel order is the reverse of the network's
  int left, top;               // network pixels before the image
  float letterbox[2];          // network pixels per source pixel, before rounding: across, down
  int part_left, part_top;     // source pixels before the part that the network sees
  int part_width, part_height;
};

// A point of a source image: pixels, and shares of the image's width and height on top.
struct Point {
  float x, y, share_x, share_y;
};

// One side of an ignored polygon; all polygons turn the same direction.
struct Edge {
  Point from, to;
};

// What counts in one image.
struct Rules {
  const float* scores;   // of each class of the network: it has to exceed this; infinity: left out
  const int* class_ids;  // of each class of the network: its number in the result
  const Edge* edges;     // around the ignored parts
  int edge_count;
  float first;           // in the network's own terms; no lower one can reach `lowest`
  float lowest;          // of `scores`
};

struct Thresholds {
  float iou;
  int class_agnostic;
  int max_detections;
  int clip;  // boxes end at the image's border
};

struct Batch {
  int images;  // grids may be made for more
  Thresholds thresholds;
  Image image[kImages];
  Rules rules[kImages];
};
