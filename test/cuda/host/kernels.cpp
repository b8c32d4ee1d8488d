// The kernels of one file behind one C function, for ctypes: KERNELS is the file, and a head's has
// READERS(USE), which uses the name of each of its readers.
#ifdef READERS
#include KERNELS
#else
#include "letterbox.cu"
#include "segment.cu"
#include "stamp.cu"
#endif

#include <map>
#include <string>

namespace {

template <class T> const T& argument(void** arguments, int i) {
  return *static_cast<const T*>(arguments[i]);
}

struct Entry {
  bool fibers;
  void (*run)(void**);
};

#ifdef READERS
template <class Read> Entry candidates_entry() {
  return {true, [](void** a) {
            candidates<Read>(argument<Head>(a, 0), argument<const Batch*>(a, 1),
                             argument<Work>(a, 2));
          }};
}

template <class Read> Entry sift_entry() {
  return {true, [](void** a) {
            sift<Read>(argument<Head>(a, 0), argument<const Batch*>(a, 1), argument<Work>(a, 2));
          }};
}

#define ENTRIES(reader)                                               \
  {"sift<" #reader "<float>>", sift_entry<reader<float>>()},              \
      {"sift<" #reader "<Half>>", sift_entry<reader<Half>>()},            \
      {"candidates<" #reader "<float>>", candidates_entry<reader<float>>()}, \
      {"candidates<" #reader "<Half>>", candidates_entry<reader<Half>>()},

const std::map<std::string, Entry> kEntries = {
    READERS(ENTRIES)
    {"trim", {true, [](void** a) { trim(argument<Head>(a, 0), argument<Work>(a, 1)); }}},
    {"rank",
     {true,
      [](void** a) {
        rank(argument<Head>(a, 0), argument<const Batch*>(a, 1), argument<Work>(a, 2));
      }}},
    {"overlap",
     {true, [](void** a) { overlap(argument<const Batch*>(a, 0), argument<Work>(a, 1)); }}},
    {"keep",
     {true,
      [](void** a) {
        keep(argument<const Batch*>(a, 0), argument<Work>(a, 1), argument<Result*>(a, 2));
      }}},
};
const std::map<std::string, int> kSizes = {
    {"Head", sizeof(Head)}, {"Work", sizeof(Work)}, {"Result", sizeof(Result)},
    {"Thresholds", sizeof(Thresholds)}, {"Rules", sizeof(Rules)}, {"Edge", sizeof(Edge)},
};
#else
template <class T, int L, bool Area> Entry letterbox_entry() {
  return {false, [](void** a) {
            letterbox<T, L, Area>(argument<const Batch*>(a, 0), argument<Target>(a, 1));
          }};
}

#define LETTERBOX(T, L)                                                 \
  {"letterbox<" #T ", " #L ", false>", letterbox_entry<T, L, false>()}, \
      {"letterbox<" #T ", " #L ", true>", letterbox_entry<T, L, true>()}

template <class T, bool Numbers> Entry segment_entry() {
  return {false, [](void** a) {
            segment<T, Numbers>(argument<const Window*>(a, 0), argument<const T*>(a, 1),
                                argument<int>(a, 2), argument<int>(a, 3), argument<int>(a, 4),
                                argument<unsigned char*>(a, 5));
          }};
}

#define SEGMENT(T)                                        \
  {"segment<" #T ", false>", segment_entry<T, false>()}, \
      {"segment<" #T ", true>", segment_entry<T, true>()}

const std::map<std::string, Entry> kEntries = {
    LETTERBOX(float, kPlanar),
    LETTERBOX(Half, kPlanar),
    LETTERBOX(signed char, kPlanar),
    LETTERBOX(Half, kBlocks16),
    LETTERBOX(signed char, kBlocks16),
    LETTERBOX(Half, kBlocks32),
    LETTERBOX(signed char, kBlocks32),
    LETTERBOX(float, kInterleaved4),
    LETTERBOX(Half, kInterleaved4),
    LETTERBOX(signed char, kInterleaved4),
    SEGMENT(float),
    SEGMENT(Half),
    SEGMENT(int),
    SEGMENT(long long),
    SEGMENT(unsigned char),
    {"stamp", {false, [](void** a) { stamp(argument<unsigned long long*>(a, 0)); }}},
};
const std::map<std::string, int> kSizes = {
    {"Image", sizeof(Image)}, {"Batch", sizeof(Batch)}, {"Target", sizeof(Target)},
    {"Window", sizeof(Window)},
};
#endif

}  // namespace

#define VISIBLE extern "C" __attribute__((visibility("default")))

VISIBLE int launch(const char* name, const unsigned* grid, const unsigned* block,
                   void** arguments) {
  const auto entry = kEntries.find(name);
  if (entry == kEntries.end()) return 1;
  const auto run = entry->second.run;
  host::launch(grid, block, entry->second.fibers, [=] { run(arguments); });
  return 0;
}

VISIBLE int size_of(const char* name) {
  const auto found = kSizes.find(name);
  return found == kSizes.end() ? -1 : found->second;
}
