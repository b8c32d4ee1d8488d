// The package's kernels behind one C function, for ctypes.
#include "letterbox.cu"
#include "stamp.cu"
#include "yolox.cu"

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

template <class T, int L, bool Area> Entry letterbox_entry() {
  return {false, [](void** a) {
            letterbox<T, L, Area>(argument<const Batch*>(a, 0), argument<Target>(a, 1));
          }};
}

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

#define LETTERBOX(T, L)                                                 \
  {"letterbox<" #T ", " #L ", false>", letterbox_entry<T, L, false>()}, \
      {"letterbox<" #T ", " #L ", true>", letterbox_entry<T, L, true>()}
#define CANDIDATES(...)                                      \
  {"sift<" #__VA_ARGS__ ">", sift_entry<__VA_ARGS__>()}, \
      {"candidates<" #__VA_ARGS__ ">", candidates_entry<__VA_ARGS__>()}

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
    CANDIDATES(Concatenated<float>),
    CANDIDATES(Concatenated<Half>),
    CANDIDATES(Maps<float>),
    CANDIDATES(Maps<Half>),
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
    {"stamp", {false, [](void** a) { stamp(argument<unsigned long long*>(a, 0)); }}},
};

}  // namespace

extern "C" int launch(const char* name, const unsigned* grid, const unsigned* block,
                      void** arguments) {
  const auto entry = kEntries.find(name);
  if (entry == kEntries.end()) return 1;
  const auto run = entry->second.run;
  host::launch(grid, block, entry->second.fibers, [=] { run(arguments); });
  return 0;
}

extern "C" int size_of(const char* name) {
  static const std::map<std::string, int> sizes = {
      {"Image", sizeof(Image)}, {"Rules", sizeof(Rules)}, {"Edge", sizeof(Edge)}, {"Thresholds", sizeof(Thresholds)}, {"Batch", sizeof(Batch)},
      {"Target", sizeof(Target)}, {"Head", sizeof(Head)}, {"Work", sizeof(Work)},
      {"Result", sizeof(Result)},
  };
  const auto found = sizes.find(name);
  return found == sizes.end() ? -1 : found->second;
}
