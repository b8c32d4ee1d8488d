// Head outputs to detections in four launches and no host synchronisation:
//   candidates   anchors that may be detections, and their keys
//   select_best  the best kCandidates keys, sorted
//   overlap      which box would suppress which
//   keep         greedy suppression; writes the result and leaves everything ready for a next batch
#include "head.cuh"

constexpr int kCandidates = 1024;         // boxes that enter suppression; cpu/postprocess.py agrees
constexpr int kWords = kCandidates / 32;  // of a row of the overlap matrix
constexpr int kBlock = 128;               // threads of candidates and of overlap
constexpr int kAtOnce = 32;               // class scores that a thread reads before it looks at any
constexpr unsigned kWholeWarp = 0xffffffffu;

typedef unsigned long long Key;

// Memory on the device, with room for all images of a batch.
struct Work {
  Key* keys;           // [images, anchors * classes]: nothing can overflow it
  unsigned* counts;    // [images]: keys so far; zero before the first launch
  Box* boxes;          // [images, anchors]: of candidates only, source pixels
  Box* best_boxes;     // [images, kCandidates]: sorted
  float* best_scores;  // likewise
  int* best_classes;   // likewise
  unsigned* overlaps;  // [images, kCandidates, kWords]: bit j of row i: j suppresses i, j < i
};

// What the host reads; lies in page-locked host memory.
struct Result {
  Box box[kCandidates];
  float score[kCandidates];
  int class_id[kCandidates];
  int count, padding[3];
};

// How each image sits in the network's input.
struct Letterboxes {
  float scale[kImages];                  // network pixels per source pixel
  float width[kImages], height[kImages];  // source pixels
};

DEVICE Key* keys_of(const Work& work, const Head& head, int image) {
  return work.keys + static_cast<long long>(image) * head.anchors * head.classes;
}

DEVICE int selected(const Work& work, int image) {
  return min(work.counts[image], static_cast<unsigned>(kCandidates));
}

// Calls visit(class, score) for each class of an anchor whose score exceeds the threshold; returns
// whether any of its scores is undefined. Only classes that may pass are looked at closely.
template <class T, int L, class Visit>
DEVICE bool visit_classes(const Head& head, const Thresholds& thresholds, int l, int image,
                          int anchor, float objectness, Visit visit) {
  typedef Reader<T, L> Read;
  const float least = least_class_score(head, thresholds.score / objectness);
  bool undefined = false;
  for (int begin = 0; begin < head.classes; begin += kAtOnce) {
    unsigned promising = 0;
#pragma unroll
    for (int k = 0; k < kAtOnce; ++k) {
      const int c = min(begin + k, head.classes - 1);
      const float raw = Read::score(head, l, image, anchor, c);
      undefined |= raw != raw;
      promising |= static_cast<unsigned>(raw > least && begin + k < head.classes) << k;
    }
    for (; promising != 0; promising &= promising - 1) {
      const int c = begin + __ffs(promising) - 1;
      const float score = objectness * probability(head, Read::score(head, l, image, anchor, c));
      if (score > thresholds.score) visit(c, score);
    }
  }
  return undefined;
}

// Grid: x covers anchors, y images; kBlock threads.
template <class T, int L>
__global__ void __launch_bounds__(kBlock)
    candidates(const Head head, const Thresholds thresholds, const Letterboxes letterboxes,
               const Work work) {
  typedef Reader<T, L> Read;
  const int image = blockIdx.y, anchor = blockIdx.x * kBlock + threadIdx.x;
  const int lane = threadIdx.x % 32, l = level_of(head, anchor);
  const bool exists = anchor < head.anchors;
  const float raw = exists ? Read::objectness(head, l, image, anchor) : 0;
  const bool passes = exists && raw >= thresholds.objectness;
  if (__ballot_sync(kWholeWarp, passes) == 0) return;

  const float objectness = probability(head, raw);
  const unsigned first_key = static_cast<unsigned>(anchor) * head.classes;
  Key best = ~0ull;
  unsigned count = 0;
  if (passes) {
    bool ok;
    const Box box = decode_box<T, L>(head, l, image, anchor, letterboxes.scale[image], ok);
    const auto look = [&](int c, float score) {
      ++count;
      best = min(best, key_of(score, first_key + c));
    };
    const bool undefined =
        visit_classes<T, L>(head, thresholds, l, image, anchor, objectness, look);
    // An anchor with an undefined score has no best class.
    if (thresholds.class_agnostic) count = count > 0 && !undefined;
    if (!ok) count = 0;
    if (count > 0) work.boxes[static_cast<long long>(image) * head.anchors + anchor] = box;
  }
  unsigned upto = count;
  for (int distance = 1; distance < 32; distance *= 2) {
    const unsigned left = __shfl_up_sync(kWholeWarp, upto, distance);
    if (lane >= distance) upto += left;
  }
  unsigned place = 0;
  if (lane == 31 && upto > 0) place = atomicAdd(work.counts + image, upto);
  place = __shfl_sync(kWholeWarp, place, 31) + upto - count;
  if (count == 0) return;
  Key* keys = keys_of(work, head, image) + place;
  if (thresholds.class_agnostic) {
    *keys = best;
  } else {
    const auto write = [&](int c, float score) { *keys++ = key_of(score, first_key + c); };
    visit_classes<T, L>(head, thresholds, l, image, anchor, objectness, write);
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

// Sorts one key per thread ascending, `size` of them, a power of two; whole block. Bitonic: pairs
// within a warp exchange by shuffles, the others through memory.
DEVICE Key sort_keys(Key key, Key* shared, int size) {
  const int i = threadIdx.x;
  for (int run = 2; run <= size; run *= 2) {
    for (int distance = run / 2; distance > 0; distance /= 2) {
      Key other;
      if (distance < 32) {
        other = __shfl_xor_sync(kWholeWarp, key, distance);
      } else {
        shared[i] = key;
        __syncthreads();
        other = shared[i ^ distance];
        __syncthreads();
      }
      const bool ascending = (i & run) == 0, lower = (i & distance) == 0;
      key = ascending == lower ? min(key, other) : max(key, other);
    }
  }
  return key;
}

// Grid: x images; kCandidates threads.
__global__ void __launch_bounds__(kCandidates) select_best(const Head head, const Work work) {
  __shared__ Key shared[kCandidates];
  __shared__ unsigned count;
  const int image = blockIdx.x;
  const unsigned i = threadIdx.x, n = work.counts[image];
  const Key* keys = keys_of(work, head, image);
  Key key = i < n ? keys[i] : ~0ull;
  if (n > kCandidates) {
    const Key last = last_selected(keys, n);
    if (i == 0) count = 0;
    __syncthreads();
    for (unsigned k = i; k < n; k += kCandidates) {
      if (keys[k] <= last) shared[atomicAdd(&count, 1u)] = keys[k];
    }
    __syncthreads();
    key = shared[i];
    __syncthreads();
  }
  const unsigned kept = selected(work, image);
  unsigned size = 1;
  while (size < kept) size *= 2;
  key = sort_keys(key, shared, size);
  if (i >= kept) return;
  const unsigned place = static_cast<unsigned>(key);
  const int anchor = place / head.classes, out = image * kCandidates + i;
  work.best_boxes[out] = work.boxes[static_cast<long long>(image) * head.anchors + anchor];
  work.best_scores[out] = score_of(key);
  work.best_classes[out] = place - anchor * head.classes;
}

// Grid: x covers rows, y words of a row, z images; kBlock threads.
__global__ void __launch_bounds__(kBlock) overlap(const Thresholds thresholds, const Work work) {
  __shared__ Box boxes[32];
  __shared__ int classes[32];
  const int image = blockIdx.z, n = selected(work, image);
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
  work.overlaps[(static_cast<long long>(image) * kCandidates + row) * kWords + blockIdx.y] = word;
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
    keep(const Thresholds thresholds, const Letterboxes letterboxes, const Work work,
         Result* results) {
  __shared__ unsigned kept[kWords];
  const int image = blockIdx.x, i = threadIdx.x, lane = i % 32, warp = i / 32;
  const int n = selected(work, image), from = image * kCandidates + i;
  const unsigned* row = work.overlaps + static_cast<long long>(from) * kWords;
  unsigned rivals[kWords];
#pragma unroll
  for (int w = 0; w < kWords; ++w) {
    rivals[w] = i < n && w <= warp ? row[w] : 0;  // words above the diagonal are never written
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
  const int place = before + (warp * 32 < n ? __popc(kept[warp] & ((1u << lane) - 1)) : 0);
  if (alive && place < thresholds.max_detections) {
    const Box box = work.best_boxes[from];
    const float width = letterboxes.width[image], height = letterboxes.height[image];
    result.box[place] = thresholds.clip ? clipped(box, width, height) : box;
    result.score[place] = work.best_scores[from];
    result.class_id[place] = work.best_classes[from];
  }
  // The last thread's place is the number of kept boxes before it.
  if (i == kCandidates - 1) {
    result.count = min(place + alive, thresholds.max_detections);
    work.counts[image] = 0;
  }
}
