// Copyright yolox_trt_ros contributors. Licensed under the Apache License, Version 2.0.

#include "ring.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <iterator>
#include <new>
#include <utility>

#ifdef __SSE2__
#include <emmintrin.h>
#endif

namespace yolox_trt_ros
{
namespace
{

constexpr size_t kPage = 4096;
constexpr size_t kHugePage = 2 << 20;
/// Buffers of so many bytes are kept, however small the messages are.
constexpr size_t kSpare = 4 << 20;

/// Copies past the caches and returns how far it came; `to` begins at a page.
/**
 * An ordinary copy first reads every line that it is going to overwrite, a third of its traffic.
 * The C library avoids this too, but only from a size on that it derives from the size of the
 * cache, which virtual machines report wrongly. ARM's cores see a long copy by themselves.
 */
size_t stream(char * to, const char * from, size_t size)
{
  size_t done = 0;
#ifdef __SSE2__
  constexpr size_t kLine = 64;
  constexpr size_t kWord = sizeof(__m128i);
  constexpr size_t kAhead = 2048;  // hardware stops at small pages, which the middleware has
  for (; done + kLine <= size; done += kLine) {
    _mm_prefetch(from + done + kAhead, _MM_HINT_T0);  // may lie behind the end: it reads nothing
    for (size_t at = done; at < done + kLine; at += kWord) {
      _mm_stream_si128(
        reinterpret_cast<__m128i *>(to + at),
        _mm_loadu_si128(reinterpret_cast<const __m128i *>(from + at)));
    }
  }
  _mm_sfence();
#else
  (void)to, (void)from, (void)size;
#endif
  return done;
}

}  // namespace

Buffer::~Buffer()
{
  unlock(outgrown_);
  if (locked_) {
    unlock(data_);
  }
}

char * Buffer::reserve(size_t size)
{
  if (size > capacity_) {
    const size_t page = size < kHugePage ? kPage : kHugePage;
    const size_t rounded = (size + page - 1) / page * page;
    auto * larger = static_cast<char *>(std::aligned_alloc(page, rounded));
    if (larger == nullptr) {
      throw std::bad_alloc();
    }
    if (page == kHugePage) {
      madvise(larger, rounded, MADV_HUGEPAGE);  // a kernel without them gives small pages
    }
    if (locked_) {
      outgrown_ = std::move(data_);
    }
    data_.reset(larger);
    capacity_ = rounded;
    locked_ = settled_ = false;
  }
  return data_.get();
}

void Buffer::write(const char * from, size_t size)
{
  if (size == 0) {
    return;  // there may be no memory yet
  }
  char * to = reserve(size);
  const size_t done = size < streamed_ ? 0 : stream(to, from, size);
  std::memcpy(to + done, from + done, size - done);
}

void Buffer::settle()
{
  unlock(outgrown_);
  if (locks_ && data_ && !settled_) {
    settled_ = true;
    locked_ = locks_->lock(data_.get(), capacity_);
  }
}

void Buffer::unlock(Memory & memory)
{
  if (memory) {
    locks_->unlock(memory.get());
    memory.reset();
  }
}

Ring::Lease::Lease(std::shared_ptr<Ring> ring, std::unique_ptr<Buffer> buffer)
: ring_(std::move(ring)), buffer_(std::move(buffer)) {}

Ring::Lease::~Lease()
{
  if (buffer_ == nullptr) {
    return;  // moved from
  }
  const std::lock_guard<std::mutex> lock(ring_->signal_->mutex);
  ring_->free_.push_back(std::move(buffer_));
  ring_->signal_->changed.notify_one();
}

Ring::Ring(
  std::shared_ptr<Signal> signal, size_t most, std::shared_ptr<const PinnedMemory> locks)
: signal_(std::move(signal)), most_(most), locks_(std::move(locks))
{
  free_.reserve(most);  // giving a buffer back allocates nothing
}

void Ring::note(size_t size)
{
  largest_ = std::max(largest_, size);
  if (++noted_ == kNoted) {
    noted_ = 0;
    largest_before_ = std::exchange(largest_, 0);
  }
}

std::vector<std::unique_ptr<Buffer>> Ring::outsized()
{
  const size_t most = kSpare + 4 * std::max(largest_, largest_before_);
  const auto kept = std::partition(
    free_.begin(), free_.end(), [most](const auto & buffer) {return buffer->capacity() <= most;});
  std::vector<std::unique_ptr<Buffer>> found(
    std::make_move_iterator(kept), std::make_move_iterator(free_.end()));
  free_.erase(kept, free_.end());
  made_ -= found.size();
  return found;
}

Ring::Lease Ring::lease()
{
  if (free_.empty()) {
    auto buffer = std::make_unique<Buffer>(locks_);
    ++made_;
    return {shared_from_this(), std::move(buffer)};
  }
  // The buffer that came back last is the one that the cache still knows.
  auto buffer = std::move(free_.back());
  free_.pop_back();
  return {shared_from_this(), std::move(buffer)};
}

}  // namespace yolox_trt_ros
