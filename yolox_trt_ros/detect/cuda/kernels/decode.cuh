// Head outputs to detections without a host synchronisation; six launches:
//   sift        anchors that may reach the score
//   candidates  what of their classes exceeds the threshold, as keys that sort like detections
//   trim        at most kCandidates of them, the best
//   rank        puts them in order
//   overlap     which box would suppress which; left out where boxes are final
//   keep        greedy suppression; writes the result and leaves everything ready for a next batch
#pragma once
#include "head.cuh"

constexpr int kCandidates = 1024;         // boxes that enter suppression; cpu/postprocess.py agrees
constexpr int kWords = kCandidates / 32;  // of a row of the overlap matrix
constexpr int kBlock = 128;               // threads of sift, candidates and overlap
constexpr int kAtOnce = 4;                // class scores that a lane reads before it looks at any
constexpr int kRanked = 64, kHelpers = 4;  // keys of a block of rank, and threads for each
constexpr unsigned kWholeWarp = 0xffffffffu;

typedef unsigned long long Key;

// Memory on the device, with room for all images of a batch.
struct Work {
  int* passed;             // [images, anchors]: numbers of the anchors that sift let through
  unsigned* passed_count;  // [images]: how many; zero before the first launch
  Key* keys;               // [images, anchors * classes]: nothing can overflow it
  unsigned* counts;        // [images]: keys so far; zero before the first launch
  Box* boxes;              // [images, anchors]: of candidates only, source pixels
  Box* best_boxes;         // [images, kCandidates]: in order
  float* best_scores;      // likewise
  int* best_classes;       // likewise
  unsigned* overlaps;      // [images, kWords, kCandidates]: bit j of [w, i]: 32 w + j suppresses i
};

// What the host reads; lies in page-locked host memory.
struct Result {
  Box box[kCandidates];
  float score[kCandidates];
  int class_id[kCandidates];
  int count, padding[3];
};

// Ascending order of these keys is the order of detections: best score first, then lowest anchor,
// then lowest class. Scores are positive, so their bits sort like their values.
DEVICE Key key_of(float score, unsigned place) {
  return static_cast<Key>(~__float_as_uint(score)) << 32 | place;
}

DEVICE float score_of(Key key) {
  return __uint_as_float(~static_cast<unsigned>(key >> 32));
}

DEVICE bool overlaps(const Box& a, const Box& b, float iou) {
  const float width = fminf(a.x2, b.x2) - fmaxf(a.x1, b.x1);
  const float height = fminf(a.y2, b.y2) - fmaxf(a.y1, b.y1);
  const float both = fmaxf(width, 0.0f) * fmaxf(height, 0.0f);
  const float area_a = (a.x2 - a.x1) * (a.y2 - a.y1), area_b = (b.x2 - b.x1) * (b.y2 - b.y1);
  return both > iou * (area_a + area_b - both);
}

DEVICE Key* keys_of(const Work& work, const Head& head, int image) {
  return work.keys + static_cast<long long>(image) * head.anchors * head.classes;
}

DEVICE Key smallest_of_warp(Key key) {
  for (int distance = 16; distance > 0; distance /= 2) {
    key = min(key, __shfl_xor_sync(kWholeWarp, key, distance));
  }
  return key;
}

// Returns the first of `size` places in an image's list, to all lanes of a warp.
DEVICE unsigned reserve(unsigned* count, unsigned size, int lane) {
  unsigned first = 0;
  if (lane == 0 && size > 0) first = atomicAdd(count, size);
  return __shfl_sync(kWholeWarp, first, 0);
}

// Returns whether a box's centre lies in an ignored part of its image, by winding numbers.
// core/regions.py computes the same in the same order.
DEVICE bool ignored(const Rules& rules, const Image& image, const Box& box) {
  const float x = (box.x1 + box.x2) / 2, y = (box.y1 + box.y2) / 2;
  const float width = image.width, height = image.height;
  int winding = 0;
  for (int i = 0; i < rules.edge_count; ++i) {
    const Point a = rules.edges[i].from, b = rules.edges[i].to;
    const float x1 = a.x + a.share_x * width, y1 = a.y + a.share_y * height;
    const float x2 = b.x + b.share_x * width, y2 = b.y + b.share_y * height;
    const float side = (x2 - x1) * (y - y1) - (x - x1) * (y2 - y1);
    winding += (y1 <= y && y2 > y && side > 0) - (y1 > y && y2 <= y && side < 0);
  }
  return winding != 0;
}

// Which of the set bits below a lane's own.
DEVICE unsigned rank_among(unsigned bits, int lane) { return __popc(bits & ((1u << lane) - 1)); }

// Grid: x covers anchors, y images; kBlock threads.
template <class Read>
__global__ void __launch_bounds__(kBlock)
    sift(const Head head, const Batch* __restrict__ batch, const Work work) {
  const int image = blockIdx.y, anchor = blockIdx.x * kBlock + threadIdx.x;
  const int lane = threadIdx.x % 32;
  if (image >= batch->images) return;
  bool passes = false;
  if (anchor < head.anchors) {
    const float raw = Read::first(head, level_of(head, anchor), image, anchor);
    passes = raw >= batch->rules[image].first;
  }
  const unsigned all = __ballot_sync(kWholeWarp, passes);
  if (all == 0) return;
  const unsigned first = reserve(work.passed_count + image, __popc(all), lane);
  int* passed = work.passed + static_cast<long long>(image) * head.anchors;
  if (passes) passed[first + rank_among(all, lane)] = anchor;
}

// One warp looks at one anchor: its box, then its classes, a lane each. With `agnostic` the best
// class of all, wanted or not, stands for the anchor.
template <class Read>
DEVICE void inspect(const Head& head, const Image& source, const Fit& fit, const Rules& rules,
                    bool agnostic, const Work& work, int image, int anchor, int lane) {
  const int l = level_of(head, anchor);
  bool ok;
  const Box box = Read::box(head, l, image, anchor, fit, ok);
  if (rules.edge_count > 0 && ignored(rules, source, box)) return;
  const float confidence = Read::confidence(head, l, image, anchor);
  Key* keys = keys_of(work, head, image);
  const unsigned first_key = static_cast<unsigned>(anchor) * head.classes;
  Key best = ~0ull;
  bool undefined = false;
  for (int begin = lane; begin - lane < head.classes; begin += 32 * kAtOnce) {
    float score[kAtOnce], limit[kAtOnce];
#pragma unroll
    for (int k = 0; k < kAtOnce; ++k) {
      const int c = begin + 32 * k;
      score[k] = c < head.classes ? Read::raw(head, l, image, anchor, c) : 0;
      limit[k] = agnostic || c >= head.classes ? rules.lowest : rules.scores[c];
    }
    unsigned takers[kAtOnce], total = 0;
#pragma unroll
    for (int k = 0; k < kAtOnce; ++k) {
      const int c = begin + 32 * k;
      score[k] = Read::score(head, confidence, score[k]);
      const bool take = ok && c < head.classes && score[k] > limit[k];
      undefined |= score[k] != score[k];
      if (take) best = min(best, key_of(score[k], first_key + c));
      takers[k] = __ballot_sync(kWholeWarp, take);
      total += __popc(takers[k]);
    }
    if (agnostic || total == 0) continue;
    unsigned place = reserve(work.counts + image, total, lane);
#pragma unroll
    for (int k = 0; k < kAtOnce; ++k) {
      const Key key = key_of(score[k], first_key + begin + 32 * k);
      if (takers[k] >> lane & 1) keys[place + rank_among(takers[k], lane)] = key;
      place += __popc(takers[k]);
    }
  }
  if (lane == 0) work.boxes[static_cast<long long>(image) * head.anchors + anchor] = box;
  if (!agnostic) return;
  // An anchor with an undefined score has no best class.
  undefined = __ballot_sync(kWholeWarp, undefined) != 0;
  best = smallest_of_warp(best);
  if (undefined || best == ~0ull) return;
  if (!(score_of(best) > rules.scores[static_cast<unsigned>(best) - first_key])) return;
  const unsigned place = reserve(work.counts + image, 1, lane);
  if (lane == 0) keys[place] = best;
}

// Grid: x covers anchors that passed, as many as are likely, y images; kBlock threads.
template <class Read>
__global__ void __launch_bounds__(kBlock)
    candidates(const Head head, const Batch* __restrict__ batch, const Work work) {
  const int image = blockIdx.y, lane = threadIdx.x % 32;
  const bool agnostic = batch->thresholds.class_agnostic || Read::single(head);
  const Rules rules = batch->rules[image];
  const Image& source = batch->image[image];
  const Fit fit = {static_cast<float>(source.left), static_cast<float>(source.top),
                   source.letterbox[0], source.letterbox[1],
                   static_cast<float>(source.part_left), static_cast<float>(source.part_top)};
  const unsigned n = work.passed_count[image], warps = kBlock / 32;
  const int* passed = work.passed + static_cast<long long>(image) * head.anchors;
  for (unsigned i = blockIdx.x * warps + threadIdx.x / 32; i < n; i += gridDim.x * warps) {
    inspect<Read>(head, source, fit, rules, agnostic, work, image, passed[i], lane);
  }
}

// Finds the digit of the key with rank `need` among those counted in `histogram`, by one warp.
DEVICE void find_digit(const unsigned* histogram, int lane, int& need, int& digit) {
  const unsigned wanted = need;
  __syncwarp();  // one lane writes what all have read
  unsigned mine = 0;
  for (int i = 0; i < 8; ++i) {
    mine += histogram[lane * 8 + i];
  }
  unsigned upto = mine;
  for (int distance = 1; distance < 32; distance *= 2) {
    const unsigned left = __shfl_up_sync(kWholeWarp, upto, distance);
    if (lane >= distance) upto += left;
  }
  const unsigned before = upto - mine;
  if (before >= wanted || upto < wanted) return;
  int left = static_cast<int>(wanted - before), at = lane * 8;
  while (static_cast<unsigned>(left) > histogram[at]) left -= histogram[at++];
  need = left;
  digit = at;
}

// Returns the key that exactly kCandidates of the image's keys do not exceed; whole block.
DEVICE Key last_selected(const Key* keys, unsigned n) {
  __shared__ unsigned histogram[256];
  __shared__ int need, digit;
  Key prefix = 0;
  if (threadIdx.x == 0) need = kCandidates;
  for (int shift = 56; shift >= 0; shift -= 8) {
    if (threadIdx.x < 256) histogram[threadIdx.x] = 0;
    __syncthreads();
    for (unsigned begin = 0; begin < n; begin += kCandidates) {
      const unsigned i = begin + threadIdx.x;
      const Key key = i < n ? keys[i] : 0;
      // Twice, for a shift by 64 is undefined.
      const bool counts = i < n && (key >> shift >> 8) == (prefix >> shift >> 8);
      const int bin = counts ? static_cast<int>(key >> shift & 255) : 256;
      // Lanes with the same digit count together: scores crowd in few bins.
      const unsigned same = __match_any_sync(kWholeWarp, bin);
      if (counts && __ffs(same) - 1 == static_cast<int>(threadIdx.x % 32)) {
        atomicAdd(&histogram[bin], __popc(same));
      }
    }
    __syncthreads();
    if (threadIdx.x < 32) find_digit(histogram, threadIdx.x, need, digit);
    __syncthreads();
    prefix |= static_cast<Key>(digit) << shift;
  }
  return prefix;
}

// Grid: x images; kCandidates threads.
__global__ void __launch_bounds__(kCandidates) trim(const Head head, const Work work) {
  __shared__ Key best[kCandidates];
  __shared__ unsigned count;
  const int image = blockIdx.x;
  const unsigned i = threadIdx.x, n = work.counts[image];
  if (n <= kCandidates) return;
  Key* keys = keys_of(work, head, image);
  const Key last = last_selected(keys, n);
  if (i == 0) count = 0;
  __syncthreads();
  for (unsigned k = i; k < n; k += kCandidates) {
    if (keys[k] <= last) best[atomicAdd(&count, 1u)] = keys[k];
  }
  __syncthreads();
  keys[i] = best[i];
  if (i == 0) work.counts[image] = kCandidates;
}

// Grid: x covers keys, kRanked each, y images; kRanked * kHelpers threads. A key's place is the
// number of smaller ones.
__global__ void __launch_bounds__(kRanked * kHelpers)
    rank(const Head head, const Batch* __restrict__ batch, const Work work) {
  __shared__ Key keys[kCandidates];
  const int image = blockIdx.y, n = work.counts[image], first = blockIdx.x * kRanked;
  if (first >= n) return;
  for (int k = threadIdx.x; k < n; k += kRanked * kHelpers) {
    keys[k] = keys_of(work, head, image)[k];
  }
  __syncthreads();
  const int i = first + threadIdx.x / kHelpers, helper = threadIdx.x % kHelpers;
  const Key key = keys[min(i, n - 1)];
  int smaller = 0;
#pragma unroll 8
  for (int k = helper; k < n; k += kHelpers) {
    smaller += keys[k] < key;
  }
  for (int distance = 1; distance < kHelpers; distance *= 2) {
    smaller += __shfl_xor_sync(kWholeWarp, smaller, distance);
  }
  if (helper != 0 || i >= n) return;
  const unsigned place = static_cast<unsigned>(key);
  const int anchor = place / head.classes, out = image * kCandidates + smaller;
  work.best_boxes[out] = work.boxes[static_cast<long long>(image) * head.anchors + anchor];
  work.best_scores[out] = score_of(key);
  work.best_classes[out] = batch->rules[image].class_ids[place - anchor * head.classes];
}

// Grid: x covers rows, y words of a row, z images; kBlock threads.
__global__ void __launch_bounds__(kBlock)
    overlap(const Batch* __restrict__ batch, const Work work) {
  __shared__ Box boxes[32];
  __shared__ int classes[32];
  const Thresholds thresholds = batch->thresholds;
  const int image = blockIdx.z, n = work.counts[image];
  const int thread = threadIdx.x, row = blockIdx.x * kBlock + thread, column = blockIdx.y * 32;
  // The whole block lies outside or above the diagonal.
  if (row - thread >= n || column >= row - thread + kBlock) return;
  const Box* best_boxes = work.best_boxes + image * kCandidates;
  const int* best_classes = work.best_classes + image * kCandidates;
  if (thread < 32 && column + thread < n) {
    boxes[thread] = best_boxes[column + thread];
    classes[thread] = best_classes[column + thread];
  }
  __syncthreads();
  if (row >= n || column > row) return;
  const Box box = best_boxes[row];
  const int class_id = best_classes[row];
  unsigned word = 0;
  for (int j = 0; j < min(32, row - column); ++j) {
    const bool rivals = thresholds.class_agnostic || classes[j] == class_id;
    if (rivals && overlaps(boxes[j], box, thresholds.iou)) word |= 1u << j;
  }
  work.overlaps[(image * kWords + blockIdx.y) * kCandidates + row] = word;
}

// Returns which boxes of a warp are kept; bit j of `rivals` says that lane j < lane suppresses this
// one. Each round decides all boxes whose rivals are decided.
DEVICE unsigned keep_of_warp(bool alive, unsigned rivals) {
  unsigned open = __ballot_sync(kWholeWarp, alive), kept = 0;
  while (open != 0) {
    const bool loses = (rivals & kept) != 0, wins = !loses && (rivals & open) == 0;
    const unsigned losers = __ballot_sync(kWholeWarp, loses);
    const unsigned winners = __ballot_sync(kWholeWarp, alive && wins);
    kept |= winners;
    open &= ~(winners | losers);
  }
  return kept;
}

DEVICE Box clipped(const Box& box, float width, float height) {
  return {fminf(fmaxf(box.x1, 0.0f), width), fminf(fmaxf(box.y1, 0.0f), height),
          fminf(fmaxf(box.x2, 0.0f), width), fminf(fmaxf(box.y2, 0.0f), height)};
}

// Grid: x images; kCandidates threads, one for each box. Warp after warp decides on its own boxes
// and tells those behind it.
__global__ void __launch_bounds__(kCandidates)
    keep(const Batch* __restrict__ batch, const Work work, Result* results) {
  __shared__ unsigned kept[kWords];
  const Thresholds thresholds = batch->thresholds;
  const int image = blockIdx.x, i = threadIdx.x, lane = i % 32, warp = i / 32;
  const int n = work.counts[image], from = image * kCandidates + i;
  const unsigned* row = work.overlaps + image * kWords * kCandidates + i;
  unsigned rivals[kWords];
#pragma unroll
  for (int w = 0; w < kWords; ++w) {
    // Words above the diagonal are never written.
    rivals[w] = i < n && w <= warp ? row[w * kCandidates] : 0;
  }
  bool alive = i < n;
  int before = 0;  // kept boxes of the warps before this one
#pragma unroll
  for (int w = 0; w < kWords; ++w) {
    if (w * 32 >= n) break;
    if (w == warp) {
      const unsigned mine = keep_of_warp(alive, rivals[w]);
      if (lane == 0) kept[w] = mine;
      alive = mine >> lane & 1;
    }
    __syncthreads();
    if (w < warp) {
      alive = alive && (rivals[w] & kept[w]) == 0;
      before += __popc(kept[w]);
    }
  }
  Result& result = results[image];
  const int place = before + (warp * 32 < n ? rank_among(kept[warp], lane) : 0);
  if (alive && place < thresholds.max_detections) {
    const Box box = work.best_boxes[from];
    const float width = batch->image[image].width, height = batch->image[image].height;
    result.box[place] = thresholds.clip ? clipped(box, width, height) : box;
    result.score[place] = work.best_scores[from];
    result.class_id[place] = work.best_classes[from];
  }
  // The last thread's place is the number of kept boxes before it.
  if (i == kCandidates - 1) {
    result.count = min(place + alive, thresholds.max_detections);
    work.counts[image] = work.passed_count[image] = 0;
  }
}
