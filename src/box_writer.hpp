// Copyright yolox_trt_ros contributors. Licensed under the Apache License, Version 2.0.

#ifndef YOLOX_TRT_ROS__BOX_WRITER_HPP_
#define YOLOX_TRT_ROS__BOX_WRITER_HPP_

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <unordered_map>
#include <vector>

namespace yolox_trt_ros
{

/// The bytes of one detection of a class, padding in front included.
struct BoxTemplate
{
  std::string bytes;
  /// Where in them the stamp's two numbers are, then score, centre x and y, width and height.
  std::array<uint32_t, 7> places;
};

/// Boxes as they lie in a struct of arrays.
struct Boxes
{
  size_t count;
  /// Left, top, right, bottom of each.
  const float * xyxy;
  const float * score;
  const int32_t * class_id;
};

/// What stands before the elements of an array.
struct ArrayTemplate
{
  std::string bytes;
  /// How many of the bytes stand before the body, from which alignment is counted.
  size_t encapsulation;
  /// Where in the bytes the stamp's two numbers are, then the count of elements.
  std::array<uint32_t, 3> places;
};

/// Writes serialised arrays of detections from templates, each into the memory of the one before.
/**
 * An element's template depends on the class and on where it begins, modulo eight. Who makes
 * templates has read the message's definition; here are bytes and numbers only.
 */
class BoxWriter
{
public:
  /// \throws std::out_of_range a number lies behind the end of the template.
  explicit BoxWriter(ArrayTemplate front);

  void learn(int32_t class_id, size_t phase, BoxTemplate made);

  /// Writes a message.
  /**
   * \param[out] phase if a template is missing: of which phase.
   * \return how many boxes have their template; if not all, the first one behind them needs another
   *   and nothing was written.
   */
  size_t write(const Boxes & boxes, int32_t seconds, uint32_t nanoseconds, size_t & phase);

  /// What was written last.
  std::vector<uint8_t> & message() {return message_;}

private:
  size_t arrange(const Boxes & boxes, size_t & phase);

  ArrayTemplate front_;
  std::unordered_map<uint64_t, BoxTemplate> templates_;
  std::vector<const BoxTemplate *> chosen_;
  size_t size_ = 0;
  std::vector<uint8_t> message_;
};

}  // namespace yolox_trt_ros

#endif  // YOLOX_TRT_ROS__BOX_WRITER_HPP_
