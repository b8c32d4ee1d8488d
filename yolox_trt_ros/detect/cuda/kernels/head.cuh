// What every head's reader gives. A head is one file that defines, before it includes decode.cuh,
//   struct Head           what the host tells it, passed by value; has `anchors` and `classes`
//   int level_of(head, anchor)
//   a template of readers, whose argument is the type of the outputs' numbers, with the functions
//     first(head, level, image, anchor)       compared with Thresholds::first before all else
//     confidence(head, level, image, anchor)  factor of all the anchor's scores
//     raw(head, level, image, anchor, c)      score of a class as it stands in the output
//     score(head, confidence, raw)            of a class
//     single(head)                            whether an anchor has its best class only
//     box(head, level, image, anchor, fit, ok)        see Box
#pragma once
#include "batch.cuh"

constexpr float kFarthest = 1e6f;  // input pixels; FARTHEST in heads/yolox/head.py

// In source pixels.
struct alignas(16) Box {
  float x1, y1, x2, y2;
};

// How the source image sits in the network's input.
struct Fit {
  float left, top, across, down;  // network pixels before it; network pixels per source pixel
  float part_left, part_top;      // source pixels before the part that the network sees
};

// Returns a box in source pixels; `ok` is false if it is undefined or so large that it is none.
DEVICE Box source_box(float x, float y, float width, float height, const Fit& fit, bool& ok) {
  ok = fabsf(x) < kFarthest && fabsf(y) < kFarthest && fabsf(width) < kFarthest &&
       fabsf(height) < kFarthest;
  const float half_width = width / 2, half_height = height / 2;
  return {(x - half_width - fit.left) / fit.across + fit.part_left,
          (y - half_height - fit.top) / fit.down + fit.part_top,
          (x + half_width - fit.left) / fit.across + fit.part_left,
          (y + half_height - fit.top) / fit.down + fit.part_top};
}

// The same of corners.
DEVICE Box source_corners(float x1, float y1, float x2, float y2, const Fit& fit, bool& ok) {
  ok = fabsf(x1) < kFarthest && fabsf(y1) < kFarthest && fabsf(x2) < kFarthest &&
       fabsf(y2) < kFarthest;
  return {(x1 - fit.left) / fit.across, (y1 - fit.top) / fit.down, (x2 - fit.left) / fit.across,
          (y2 - fit.top) / fit.down};
}
