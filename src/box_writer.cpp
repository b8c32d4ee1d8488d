// Copyright yolox_trt_ros contributors. Licensed under the Apache License, Version 2.0.

#include "box_writer.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <limits>
#include <stdexcept>
#include <utility>

namespace yolox_trt_ros
{
namespace
{

/// Elements are aligned to eight bytes at most.
constexpr size_t kPhases = 8;
constexpr auto kQuantities = static_cast<size_t>(Quantity::kCount);
constexpr std::array<const char *, kQuantities> kNames{
  "seconds", "nanoseconds", "score", "center_x", "center_y", "width", "height", "left", "top",
  "right", "bottom", "inner_left", "inner_top", "inner_width", "inner_height",
  "track_id"};

/// One value of each quantity.
using Values = std::array<double, kQuantities>;

uint64_t key(int32_t class_id, size_t phase)
{
  return static_cast<uint32_t>(class_id) * kPhases + phase;
}

template<typename Value>
void put(uint8_t * bytes, uint32_t place, Value value)
{
  std::memcpy(bytes + place, &value, sizeof(value));
}

/// Rounds towards zero as Python's int() does; what has no place in 32 bits, at their limits.
uint32_t whole(double value)
{
  constexpr double low = std::numeric_limits<int32_t>::min();
  constexpr double high = std::numeric_limits<uint32_t>::max();
  return static_cast<uint32_t>(static_cast<int64_t>(std::min(std::max(low, value), high)));
}

/// Returns what of a coordinate lies between 0 and the last one.
float within(float value, float last)
{
  return std::min(std::max(0.0F, value), last);
}

/// Writes a number in letters.
void spell(uint8_t * bytes, uint64_t value)
{
  for (size_t i = kTrackDigits; i-- > 0; value /= 10) {
    bytes[i] = static_cast<uint8_t>('0' + value % 10);
  }
}

void fill(uint8_t * bytes, const std::vector<Number> & numbers, const Values & values)
{
  for (const auto & [place, quantity, code] : numbers) {
    const double value = values[static_cast<size_t>(quantity)];
    if (code == 'd') {
      put(bytes, place, value);
    } else if (code == 'f') {
      put(bytes, place, static_cast<float>(value));
    } else if (code == 's') {
      spell(bytes + place, static_cast<uint64_t>(value));
    } else {
      put(bytes, place, whole(value));
    }
  }
}

/// Sees to it that all numbers of a template can be written.
void check(const Template & made)
{
  for (const auto & number : made.numbers) {
    if (std::string("dfiIs").find(number.code) == std::string::npos) {
      throw std::invalid_argument("expected a number of type d, f, i, I or s");
    }
    const size_t size =
      number.code == 's' ? kTrackDigits : number.code == 'd' ? sizeof(double) : sizeof(uint32_t);
    if (number.place + size > made.bytes.size()) {
      throw std::out_of_range("a number lies behind the end of its template");
    }
  }
}

}  // namespace

Quantity quantity_of(const std::string & name)
{
  const auto found = std::find(kNames.begin(), kNames.end(), name);
  if (found == kNames.end()) {
    throw std::invalid_argument("no quantity is called \"" + name + "\"");
  }
  return static_cast<Quantity>(found - kNames.begin());
}

BoxWriter::BoxWriter(ArrayTemplate front)
: front_(std::move(front))
{
  const size_t size = front_.head.bytes.size();
  if (front_.encapsulation > size || front_.count + sizeof(uint32_t) > size) {
    throw std::out_of_range("the array's template is shorter than its count of elements");
  }
  check(front_.head);
}

void BoxWriter::learn(int32_t class_id, size_t phase, Template made)
{
  check(made);
  templates_.insert_or_assign(key(class_id, phase), std::move(made));
}

void BoxWriter::set_image(int32_t width, int32_t height)
{
  last_x_ = static_cast<float>(std::max(0, width - 1));
  last_y_ = static_cast<float>(std::max(0, height - 1));
}

int32_t BoxWriter::which(const Boxes & boxes, size_t i)
{
  const bool tracked = boxes.track_id && boxes.track_id[i] >= 0;
  return boxes.class_id[i] + (tracked ? kTracked : 0);
}

size_t BoxWriter::arrange(const Boxes & boxes, size_t & phase)
{
  const size_t begin = front_.head.bytes.size() - front_.encapsulation;
  chosen_.clear();
  size_ = 0;
  for (size_t i = 0; i < boxes.count; ++i) {
    phase = (begin + size_) % kPhases;
    const auto found = templates_.find(key(which(boxes, i), phase));
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
  const auto & head = front_.head;
  message_.resize(head.bytes.size() + size_);
  uint8_t * to = message_.data();
  Values values{static_cast<double>(seconds), static_cast<double>(nanoseconds)};
  std::memcpy(to, head.bytes.data(), head.bytes.size());
  fill(to, head.numbers, values);
  put(to, front_.count, static_cast<uint32_t>(boxes.count));
  to += head.bytes.size();
  for (size_t i = 0; i < chosen_.size(); ++i) {
    // Computed as the typed message's numbers are: in double precision.
    const double left = boxes.xyxy[4 * i], top = boxes.xyxy[4 * i + 1];
    const double right = boxes.xyxy[4 * i + 2], bottom = boxes.xyxy[4 * i + 3];
    // These in single precision, as Autoware computes them.
    const float * box = boxes.xyxy + 4 * i;
    const float inner_left = within(box[0], last_x_), inner_top = within(box[1], last_y_);
    values = {
      values[0], values[1], boxes.score[i], (left + right) / 2, (top + bottom) / 2, right - left,
      bottom - top, left, top, right, bottom, inner_left, inner_top,
      within(box[2], last_x_) - inner_left, within(box[3], last_y_) - inner_top,
      boxes.track_id ? static_cast<double>(boxes.track_id[i]) : 0};
    const auto & [bytes, numbers] = *chosen_[i];
    std::memcpy(to, bytes.data(), bytes.size());
    fill(to, numbers, values);
    to += bytes.size();
  }
  return boxes.count;
}

}  // namespace yolox_trt_ros
