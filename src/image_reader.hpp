// Copyright yolox_trt_ros contributors. Licensed under the Apache License, Version 2.0.

#ifndef YOLOX_TRT_ROS__IMAGE_READER_HPP_
#define YOLOX_TRT_ROS__IMAGE_READER_HPP_

#include <cstddef>
#include <cstdint>
#include <string>

#include "fastcdr/Cdr.h"

namespace yolox_trt_ros
{

/// Longer names are damaged messages, not names.
constexpr uint32_t kMaxString = 4096;
/// Bytes that a payload may have beyond all that its rows could be planes of. What exactly an
/// encoding may have is checked where encodings are known; no buffer grows for more than this.
constexpr uint64_t kSlack = 1 << 16;

enum class Kind { kImage, kCompressedImage };

/// What a sensor_msgs/Image or CompressedImage says besides its payload.
struct ImageHead
{
  int32_t seconds = 0;
  uint32_t nanoseconds = 0;
  std::string frame_id;
  /// The encoding of an Image, the format of a CompressedImage.
  std::string encoding;
  /// Pixels and bytes per row; zero in a CompressedImage.
  uint32_t height = 0;
  uint32_t width = 0;
  uint32_t step = 0;
  /// Whether samples of 16 bits have their high byte first.
  bool big_endian = false;
};

/// The payload where it lies inside the serialised message.
struct Payload
{
  const char * data = nullptr;
  size_t size = 0;
};

/// Reads a message behind its encapsulation header, front to back and never beyond its end.
/**
 * \param[in,out] cdr    stands behind the encapsulation header, whose byte order it follows.
 * \param[in] kind       which of the two messages it is.
 * \param[out] head      everything but the payload.
 * \param[out] problem   why the message is malformed; untouched if it is not.
 * \return the payload inside the message, or no data if the message is malformed.
 */
Payload read_image(
  eprosima::fastcdr::Cdr & cdr, Kind kind, ImageHead & head, std::string & problem);

/// The same for a whole serialised message, encapsulation header included.
Payload read_serialized_image(
  char * message, size_t size, Kind kind, ImageHead & head, std::string & problem);

}  // namespace yolox_trt_ros

#endif  // YOLOX_TRT_ROS__IMAGE_READER_HPP_
