// Copyright yolox_trt_ros contributors. Licensed under the Apache License, Version 2.0.

#include "direct_type_support.hpp"

#include <cstring>
#include <new>

#include "rosidl_typesupport_fastrtps_cpp/message_type_support.h"

namespace yolox_trt_ros
{
namespace
{

constexpr char kDeserializing[] = "rosidl_typesupport_fastrtps_c";

/// Reports every failure in the message: the middleware then counts it as taken, and so do we.
template<Kind kind>
bool deserialize(eprosima::fastcdr::Cdr & cdr, void * untyped)
{
  auto & message = *static_cast<DirectMessage *>(untyped);
  if (message.buffer == nullptr) {
    return true;
  }
  const auto payload = read_image(cdr, kind, message.head, message.problem);
  if (payload.size > 0) {
    try {
      message.buffer->write(payload.data, payload.size);
      message.size = payload.size;
    } catch (const std::bad_alloc &) {
      message.problem = "no memory for a payload of " + std::to_string(payload.size) + " bytes";
    }
  }
  return true;
}

/// One kind's derived type support: a handle that finds the others, as the original does.
template<Kind kind>
struct Derived
{
  static inline const rosidl_message_type_support_t * original;
  static inline message_type_support_callbacks_t callbacks;
  static inline rosidl_message_type_support_t deserializing;
  static inline rosidl_message_type_support_t handle;

  static const rosidl_message_type_support_t * find(
    const rosidl_message_type_support_t *, const char * identifier)
  {
    return std::strcmp(identifier, kDeserializing) == 0 ?
           &deserializing : get_message_typesupport_handle(original, identifier);
  }

  static const rosidl_message_type_support_t * make(const rosidl_message_type_support_t * from)
  {
    if (original == from) {
      return &handle;  // perhaps in use already
    }
    const auto * found = get_message_typesupport_handle(from, kDeserializing);
    if (found == nullptr) {
      return nullptr;
    }
    original = from;
    callbacks = *static_cast<const message_type_support_callbacks_t *>(found->data);
    callbacks.cdr_deserialize = deserialize<kind>;
    deserializing = *found;
    deserializing.data = &callbacks;
    handle = *from;
    handle.func = find;
    return &handle;
  }
};

}  // namespace

const rosidl_message_type_support_t * direct_type_support(
  const rosidl_message_type_support_t * original, Kind kind)
{
  return kind == Kind::kImage ?
         Derived<Kind::kImage>::make(original) : Derived<Kind::kCompressedImage>::make(original);
}

}  // namespace yolox_trt_ros
