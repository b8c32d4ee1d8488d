// Copyright yolox_trt_ros contributors. Licensed under the Apache License, Version 2.0.

#ifndef YOLOX_TRT_ROS__DIRECT_TYPE_SUPPORT_HPP_
#define YOLOX_TRT_ROS__DIRECT_TYPE_SUPPORT_HPP_

#include <cstddef>
#include <string>

#include "image_reader.hpp"
#include "ring.hpp"
#include "rosidl_runtime_c/message_type_support_struct.h"

namespace yolox_trt_ros
{

/// What a subscription made with `direct_type_support` fills in instead of a ROS message.
struct DirectMessage
{
  /// Where the payload goes; none: the message is passed over.
  Buffer * buffer;
  ImageHead head;
  /// Bytes of payload.
  size_t size;
  /// Why the message is malformed; empty if it is not.
  std::string problem;
};

/// Derives a type support whose deserialiser fills a `DirectMessage`.
/**
 * Name, hash and everything else stay those of the ROS message: no other node sees a difference.
 *
 * \param original the message's own type support, of the C language.
 * \return it lives as long as the process, because the middleware keeps it with the type's name;
 *   nullptr if the message has no support for middlewares that call a deserialiser.
 */
const rosidl_message_type_support_t * direct_type_support(
  const rosidl_message_type_support_t * original, Kind kind);

}  // namespace yolox_trt_ros

#endif  // YOLOX_TRT_ROS__DIRECT_TYPE_SUPPORT_HPP_
