// Head outputs to detections in four launches and no host synchronisation:
//   candidates  anchors that may be detections, and their keys
//   select      the best kCandidates keys, sorted
//   overlap     which box would suppress which
//   keep        greedy suppression; writes the result and leaves everything ready for a next batch
#include "head.cuh"

constexpr int kCandidates = 1024;        // boxes that enter suppression; cpu/postprocess.py agrees
constexpr int kWords = kCandidates / 32;  // of a row of the overlap matrix
constexpr int kBlock = 128;               // threads of candidates and of overlap
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
  unsigned* overlaps;  // [images, kCandidates, kWords]: bit j of row i: i suppresses j, j > i
};

// What the host reads; lies in page-locked host memory.
struct Result {
  Box box[kCandidates];
  float score[kCandidates];
  int class_id[kCandidates];
  int count, padding[3];
};

struct Letterboxes {
  float scale[kImages];  // network pixels per source pixel
};

DEVICE Key* keys_of(const Work& work, const Head& head, int image) {
  return work.keys + static_cast<long long>(image) * head.anchors * head.classes;
}

DEVICE int selected(const Work& work, int image) {
  return min(work.counts[image], static_cast<unsigned>(kCandidates));
}

DEVICE Key smallest_of_warp(Key key) {
  for (int distance = 16; distance > 0; distance /= 2) {
    key = min(key, __shfl_xor_sync(kWholeWarp, key, distance));
  }
  return key;
}

// Gives every lane with `take` set a place of its own in the image's list of keys.
DEVICE void append(Key* keys, unsigned* count, Key key, bool take, int lane) {
  const unsigned takers = __ballot_sync(kWholeWarp, take);
  unsigned first = 0;
  if (lane == 0 && takers != 0) first = atomicAdd(count, __popc(takers));
  first = __shfl_sync(kWholeWarp, first, 0);
  if (take) keys[first + __popc(takers & ((1u << lane) - 1))] = key;
}

// One warp looks at one anchor that passed: its box, then its classes, a lane each.
template <class T, int L>
DEVICE void inspect(const Head& head, const Thresholds& thresholds, float letterbox,
                    const Work& work, int image, int anchor, int lane) {
  typedef Reader<T, L> Read;
  const int l = level_of(head, anchor);
  float raw[4];
  for (int k = 0; k < 4; ++k) {
    raw[k] = Read::box(head, l, image, anchor, k);
  }
  bool ok;
  const Box box = decode_box(head, l, anchor, raw, letterbox, ok);
  if (!ok) return;
  if (lane == 0) work.boxes[static_cast<long long>(image) * head.anchors + anchor] = box;

  const float objectness = probability(head, Read::objectness(head, l, image, anchor));
  Key* keys = keys_of(work, head, image);
  const unsigned first = static_cast<unsigned>(anchor) * head.classes;
  Key best = ~0ull;
  bool undefined = false;
  for (int begin = 0; begin < head.classes; begin += 32) {
    const int c = begin + lane;
    float score = 0;
    if (c < head.classes) {
      score = objectness * probability(head, Read::score(head, l, image, anchor, c));
    }
    undefined |= score != score;
    const bool take = score > thresholds.score;
    const Key key = key_of(score, first + c);
    if (!thresholds.class_agnostic) {
      append(keys, work.counts + image, key, take, lane);
    } else if (take && key < best) {
      best = key;
    }
  }
  if (thresholds.class_agnostic) {
    // An anchor with an undefined score has no best class.
    undefined = __ballot_sync(kWholeWarp, undefined) != 0;
    best = smallest_of_warp(best);
    append(keys, work.counts + image, best, lane == 0 && best != ~0ull && !undefined, lane);
  }
}

// Grid: x covers anchors, y images; kBlock threads.
template <class T, int L>
__global__ void __launch_bounds__(kBlock)
    candidates(const Head head, const Thresholds thresholds, const Letterboxes letterboxes,
               const Work work) {
  __shared__ int passed[kBlock];
  __shared__ int count;
  const int image = blockIdx.y, anchor = blockIdx.x * kBlock + threadIdx.x;
  if (threadIdx.x == 0) count = 0;
  __syncthreads();
  if (anchor < head.anchors) {
    const float objectness = Reader<T, L>::objectness(head, level_of(head, anchor), image, anchor);
    if (objectness >= thresholds.objectness) passed[atomicAdd(&count, 1)] = anchor;
  }
  __syncthreads();
  const int lane = threadIdx.x % 32;
  for (int i = threadIdx.x / 32; i < count; i += kBlock / 32) {
    inspect<T, L>(head, thresholds, letterboxes.scale[image], work, image, passed[i], lane);
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
  // The whole block lies outside or below the diagonal.
  if (column >= n || row - thread >= min(n, column + 32)) return;
  const Box* best_boxes = work.best_boxes + image * kCandidates;
  const int* best_classes = work.best_classes + image * kCandidates;
  if (thread < 32 && column + thread < n) {
    boxes[thread] = best_boxes[column + thread];
    classes[thread] = best_classes[column + thread];
  }
  __syncthreads();
  if (row >= n) return;
  const Box box = best_boxes[row];
  const int class_id = best_classes[row];
  unsigned word = 0;
  for (int j = max(0, row + 1 - column); j < min(32, n - column); ++j) {
    const bool rivals = thresholds.class_agnostic || classes[j] == class_id;
    if (rivals && overlaps(box, boxes[j], thresholds.iou)) word |= 1u << j;
  }
  work.overlaps[(static_cast<long long>(image) * kCandidates + row) * kWords + blockIdx.y] = word;
}

// Grid: x images; one warp. Lane k knows which boxes of word k are suppressed so far.
__global__ void __launch_bounds__(32) keep(const Thresholds thresholds, const Work work,
                                           Result* results) {
  const int image = blockIdx.x, lane = threadIdx.x, n = selected(work, image);
  const unsigned* rows =
      work.overlaps + static_cast<long long>(image) * kCandidates * kWords + lane;
  Result& result = results[image];
  unsigned suppressed = 0;
  int kept = 0;
  for (int first = 0; first < n && kept < thresholds.max_detections; first += 32) {
    const int word = first / 32, count = min(32, n - first);
    unsigned row[32];
#pragma unroll
    for (int i = 0; i < 32; ++i) {
      // Words below the diagonal are never written, those behind the last box neither.
      row[i] = i < count && lane >= word && lane * 32 < n ? rows[(first + i) * kWords] : 0;
    }
    unsigned alive = ~__shfl_sync(kWholeWarp, suppressed, word);
    if (count < 32) alive &= (1u << count) - 1;
#pragma unroll
    for (int i = 0; i < 32; ++i) {
      const unsigned inside = __shfl_sync(kWholeWarp, row[i], word);
      if (alive >> i & 1) alive &= ~inside;
    }
#pragma unroll
    for (int i = 0; i < 32; ++i) {
      if (alive >> i & 1) suppressed |= row[i];
    }
    const int place = kept + __popc(alive & ((1u << lane) - 1));
    if ((alive >> lane & 1) && place < thresholds.max_detections) {
      const int from = image * kCandidates + first + lane;
      result.box[place] = work.best_boxes[from];
      result.score[place] = work.best_scores[from];
      result.class_id[place] = work.best_classes[from];
    }
    kept += __popc(alive);
  }
  if (lane == 0) {
    result.count = min(kept, thresholds.max_detections);
    work.counts[image] = 0;
  }
}
