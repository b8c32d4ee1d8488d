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

/// Writes the elements of a serialised array of detections from templates.
/**
 * A template depends on the class and on where the element begins, modulo eight. Who makes
 * templates has read the message's definition; here are bytes and numbers only.
 */
class BoxWriter
{
public:
  void learn(int32_t class_id, size_t phase, BoxTemplate made);

  /// Chooses the templates of all boxes.
  /**
   * \param begin where in the message's body the first element begins.
   * \param[out] phase if a template is missing: of which phase.
   * \return how many boxes have theirs; the first one behind them needs another template.
   */
  size_t arrange(const Boxes & boxes, size_t begin, size_t & phase);

  /// Bytes of all elements that were arranged.
  size_t size() const {return size_;}

  /// Writes what was arranged, `size()` bytes.
  void write(const Boxes & boxes, int32_t seconds, uint32_t nanoseconds, char * to) const;

private:
  std::unordered_map<uint64_t, BoxTemplate> templates_;
  std::vector<const BoxTemplate *> chosen_;
  size_t size_ = 0;
};

}  // namespace yolox_trt_ros

#endif  // YOLOX_TRT_ROS__BOX_WRITER_HPP_
