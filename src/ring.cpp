// Copyright yolox_trt_ros contributors. Licensed under the Apache License, Version 2.0.

#include "ring.hpp"

#include <cstdlib>
#include <new>
#include <utility>

namespace yolox_trt_ros
{
namespace
{

constexpr size_t kPage = 4096;

}  // namespace

Buffer::~Buffer()
{
  std::free(data_);
}

char * Buffer::reserve(size_t size)
{
  if (size > capacity_) {
    const size_t rounded = (size + kPage - 1) / kPage * kPage;
    auto * larger = static_cast<char *>(std::aligned_alloc(kPage, rounded));
    if (larger == nullptr) {
      throw std::bad_alloc();
    }
    std::free(data_);
    data_ = larger;
    capacity_ = rounded;
  }
  return data_;
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

Ring::Ring(std::shared_ptr<Signal> signal, size_t most)
: signal_(std::move(signal)), most_(most)
{
  free_.reserve(most);  // giving a buffer back allocates nothing
}

Ring::Lease Ring::lease()
{
  if (free_.empty()) {
    auto buffer = std::make_unique<Buffer>();
    ++made_;
    return {shared_from_this(), std::move(buffer)};
  }
  // The buffer that came back last is the one that the cache still knows.
  auto buffer = std::move(free_.back());
  free_.pop_back();
  return {shared_from_this(), std::move(buffer)};
}

}  // namespace yolox_trt_ros
