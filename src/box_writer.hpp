// Copyright yolox_trt_ros contributors. Licensed under the Apache License, Version 2.0.

#ifndef YOLOX_TRT_ROS__BOX_WRITER_HPP_
#define YOLOX_TRT_ROS__BOX_WRITER_HPP_

#include <cstddef>
#include <cstdint>
#include <string>
#include <unordered_map>
#include <vector>

namespace yolox_trt_ros
{

/// What a number of a message is of an image or of a detection.
enum class Quantity : uint8_t
{
  kSeconds, kNanoseconds, kScore, kCenterX, kCenterY, kWidth, kHeight, kLeft, kTop, kRight, kBottom,
  /// Of the part of the box within the image.
  kInnerLeft, kInnerTop, kInnerWidth, kInnerHeight,
  /// Number of the object's track: text, see kTrackDigits.
  kTrackId,
  kCount
};

/// Letters of a track's number, with zeros in front.
constexpr size_t kTrackDigits = 10;
/// Added to the class of a box that has a track: its template is another one.
constexpr int32_t kTracked = 1 << 30;


/// Returns the quantity of a name such as "center_x".
/**
 * \throws std::invalid_argument there is none.
 */
Quantity quantity_of(const std::string & name);

/// A number in a template: where it is, what it is, and its type as Python's struct names it; "s" is
/// one in letters.
struct Number
{
  uint32_t place;
  Quantity quantity;
  char code;
};

/// Bytes of a message, padding in front included, and the numbers to replace in them.
struct Template
{
  std::string bytes;
  std::vector<Number> numbers;
};

/// Boxes as they lie in a struct of arrays.
struct Boxes
{
  size_t count;
  /// Left, top, right, bottom of each.
  const float * xyxy;
  const float * score;
  const int32_t * class_id;
  /// Below zero: none. Null: nothing is tracked.
  const int64_t * track_id = nullptr;
};

/// What stands before the elements of an array.
struct ArrayTemplate
{
  Template head;
  /// How many of the bytes stand before the body, from which alignment is counted.
  size_t encapsulation;
  /// Where in the bytes the count of elements is.
  uint32_t count;
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
  /// \throws std::invalid_argument a number is of a type that is not supported.
  explicit BoxWriter(ArrayTemplate front);

  void learn(int32_t class_id, size_t phase, Template made);

  /// Writes a message.
  /**
   * \param[out] phase if a template is missing: of which phase.
   * \return how many boxes have their template; if not all, the first one behind them needs another
   *   and nothing was written.
   */
  size_t write(const Boxes & boxes, int32_t seconds, uint32_t nanoseconds, size_t & phase);

  /// Returns of which kind a box's template is: its class, and whether it has a track.
  static int32_t which(const Boxes & boxes, size_t i);

  /// Sets the size of the images from now on, in pixels, for what lies within them.
  void set_image(int32_t width, int32_t height);

  /// What was written last.
  std::vector<uint8_t> & message() {return message_;}

private:
  size_t arrange(const Boxes & boxes, size_t & phase);

  ArrayTemplate front_;
  std::unordered_map<uint64_t, Template> templates_;
  std::vector<const Template *> chosen_;
  size_t size_ = 0;
  /// Centres of the image's last column and row.
  float last_x_ = 0, last_y_ = 0;
  std::vector<uint8_t> message_;
};

}  // namespace yolox_trt_ros

#endif  // YOLOX_TRT_ROS__BOX_WRITER_HPP_
