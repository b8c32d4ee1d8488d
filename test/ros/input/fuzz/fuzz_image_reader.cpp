// Copyright yolox_trt_ros contributors. Licensed under the Apache License, Version 2.0.
//
// Damaged messages through both ways of reading one: as a whole serialised message, and as the
// middleware calls the direct way's deserialiser. With libFuzzer, or (REPLAY) one after the other
// from a file.

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "direct_type_support.hpp"
#include "fastcdr/FastBuffer.h"
#include "fastcdr/config.h"
#include "image_reader.hpp"
#include "ring.hpp"
#include "rosidl_typesupport_fastrtps_cpp/message_type_support.h"

using eprosima::fastcdr::Cdr;
using yolox_trt_ros::Buffer;
using yolox_trt_ros::DirectMessage;
using yolox_trt_ros::ImageHead;
using yolox_trt_ros::Kind;

namespace
{

#if FASTCDR_VERSION_MAJOR < 2
constexpr auto kVersion = Cdr::DDS_CDR;
#else
constexpr auto kVersion = eprosima::fastcdr::CdrVersion::XCDRv1;
#endif
/// So that damaged messages, which are short, are copied past the caches too.
constexpr size_t kStreamed = 100;

void require(bool condition, const char * what)
{
  if (!condition) {
    std::fprintf(stderr, "violated: %s\n", what);
    std::abort();
  }
}

const rosidl_message_type_support_t * find(
  const rosidl_message_type_support_t * handle, const char *)
{
  return handle;
}

/// What the middleware calls for a message of that kind.
const message_type_support_callbacks_t & direct_callbacks(Kind kind)
{
  static const message_type_support_callbacks_t callbacks{};
  static rosidl_message_type_support_t original{};
  original.data = &callbacks;
  original.func = find;
  const auto * support = yolox_trt_ros::direct_type_support(&original, kind);
  support = support->func(support, "rosidl_typesupport_fastrtps_c");
  return *static_cast<const message_type_support_callbacks_t *>(support->data);
}

/// How much of a message the direct way is to see. Fast CDR before 2.3 does not look at the padding that
/// the header claims: that way takes it for part of the payload, which no reader's memory suffers from.
size_t without_unseen_padding(const char * message, size_t size)
{
#if FASTCDR_VERSION_MAJOR < 2 || (FASTCDR_VERSION_MAJOR == 2 && FASTCDR_VERSION_MINOR < 3)
  return size < 4 || size % 4 ? size : size - std::min<size_t>(message[3] & 3, size - 4);
#else
  (void)message;
  return size;
#endif
}

/// Reads as the middleware does and returns whether it got as far as the direct way.
bool read_direct(char * data, size_t size, Kind kind, DirectMessage & message)
{
  eprosima::fastcdr::FastBuffer memory(data, without_unseen_padding(data, size));
  Cdr cdr(memory, Cdr::DEFAULT_ENDIAN, kVersion);
  try {
    cdr.read_encapsulation();
  } catch (const eprosima::fastcdr::exception::Exception &) {
    return false;
  }
  require(direct_callbacks(kind).cdr_deserialize(cdr, &message), "the middleware is told of none");
  return true;
}

void read(const uint8_t * data, size_t size, Kind kind, Buffer & buffer)
{
  // A block of exactly this size: the sanitizer sees the first byte beyond it.
  const std::unique_ptr<char[]> message(new char[size]);
  std::memcpy(message.get(), data, size);
  ImageHead head;
  std::string problem;
  const auto payload =
    yolox_trt_ros::read_serialized_image(message.get(), size, kind, head, problem);
  require((payload.data == nullptr) == !problem.empty(), "either a payload or a problem");
  require(head.frame_id.size() < yolox_trt_ros::kMaxString, "frame_id within bounds");
  require(head.encoding.size() < yolox_trt_ros::kMaxString, "encoding within bounds");
  if (payload.data != nullptr) {
    require(payload.data + payload.size <= message.get() + size, "payload inside the message");
  }

  DirectMessage direct{&buffer, {}, 0, {}};
  const bool came = read_direct(message.get(), size, kind, direct);
  require((came && direct.problem.empty()) == problem.empty(), "both ways agree");
  if (payload.data != nullptr) {
    require(direct.size == payload.size, "both ways find a payload of the same size");
    require(
      payload.size == 0 || std::memcmp(buffer.data(), payload.data, payload.size) == 0,
      "the payload is copied");
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t * data, size_t size)
{
  static Buffer buffer(nullptr, kStreamed);
  read(data, size, Kind::kImage, buffer);
  read(data, size, Kind::kCompressedImage, buffer);
  return 0;
}

#ifdef REPLAY
/// Each message follows its size, four bytes in the machine's own order.
int main(int argc, char ** argv)
{
  require(argc == 2, "one argument: the file");
  std::FILE * file = std::fopen(argv[1], "rb");
  require(file != nullptr, "the file can be opened");
  uint32_t size = 0;
  size_t count = 0;
  std::vector<uint8_t> message;
  while (std::fread(&size, sizeof(size), 1, file) == 1) {
    message.resize(size);
    require(std::fread(message.data(), 1, size, file) == size, "the file is complete");
    LLVMFuzzerTestOneInput(message.data(), size);
    ++count;
  }
  std::fclose(file);
  std::printf("%zu messages, no finding\n", count);
  return 0;
}
#endif
