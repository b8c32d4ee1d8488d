// Copyright yolox_trt_ros contributors. Licensed under the Apache License, Version 2.0.

#include "box_writer.hpp"

#include <cstring>
#include <stdexcept>
#include <utility>

namespace yolox_trt_ros
{
namespace
{

/// Elements are aligned to eight bytes at most.
constexpr size_t kPhases = 8;

uint64_t key(int32_t class_id, size_t phase)
{
  return static_cast<uint32_t>(class_id) * kPhases + phase;
}

template<typename Number>
void put(uint8_t * element, uint32_t place, Number number)
{
  std::memcpy(element + place, &number, sizeof(number));
}

}  // namespace

BoxWriter::BoxWriter(ArrayTemplate front)
: front_(std::move(front))
{
  if (front_.encapsulation > front_.bytes.size()) {
    throw std::out_of_range("the array's template is shorter than its encapsulation");
  }
  for (const auto place : front_.places) {
    if (place + sizeof(uint32_t) > front_.bytes.size()) {
      throw std::out_of_range("a number lies behind the end of the array's template");
    }
  }
}

void BoxWriter::learn(int32_t class_id, size_t phase, BoxTemplate made)
{
  for (size_t i = 0; i < made.places.size(); ++i) {
    const size_t size = i < 2 ? sizeof(int32_t) : sizeof(double);
    if (made.places[i] + size > made.bytes.size()) {
      throw std::out_of_range("a number lies behind the end of its template");
    }
  }
  templates_.insert_or_assign(key(class_id, phase), std::move(made));
}

size_t BoxWriter::arrange(const Boxes & boxes, size_t & phase)
{
  const size_t begin = front_.bytes.size() - front_.encapsulation;
  chosen_.clear();
  size_ = 0;
  for (size_t i = 0; i < boxes.count; ++i) {
    phase = (begin + size_) % kPhases;
    const auto found = templates_.find(key(boxes.class_id[i], phase));
    if (found == templates_.end()) {
      break;
    }
    chosen_.push_back(&found->second);
    size_ += found->second.bytes.size();
  }
  return chosen_.size();
}

size_t BoxWriter::write(
  const Boxes & boxes, int32_t seconds, uint32_t nanoseconds, size_t & phase)
{
  if (const size_t known = arrange(boxes, phase); known < boxes.count) {
    return known;
  }
  message_.resize(front_.bytes.size() + size_);
  uint8_t * to = message_.data();
  std::memcpy(to, front_.bytes.data(), front_.bytes.size());
  put(to, front_.places[0], seconds);
  put(to, front_.places[1], nanoseconds);
  put(to, front_.places[2], static_cast<uint32_t>(boxes.count));
  to += front_.bytes.size();
  for (size_t i = 0; i < chosen_.size(); ++i) {
    const auto & [bytes, places] = *chosen_[i];
    // Computed as the typed message's numbers are: in double precision.
    const double left = boxes.xyxy[4 * i], top = boxes.xyxy[4 * i + 1];
    const double right = boxes.xyxy[4 * i + 2], bottom = boxes.xyxy[4 * i + 3];
    std::memcpy(to, bytes.data(), bytes.size());
    put(to, places[0], seconds);
    put(to, places[1], nanoseconds);
    put(to, places[2], static_cast<double>(boxes.score[i]));
    put(to, places[3], (left + right) / 2);
    put(to, places[4], (top + bottom) / 2);
    put(to, places[5], right - left);
    put(to, places[6], bottom - top);
    to += bytes.size();
  }
  return boxes.count;
}

}  // namespace yolox_trt_ros
