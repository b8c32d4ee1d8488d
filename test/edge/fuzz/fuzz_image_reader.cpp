// Copyright yolox_trt_ros contributors. Licensed under the Apache License, Version 2.0.
//
// Damaged messages through the reader: with libFuzzer, or (REPLAY) one after the other from a file.

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "image_reader.hpp"
#include "ring.hpp"

using yolox_trt_ros::Buffer;
using yolox_trt_ros::ImageHead;
using yolox_trt_ros::Kind;

namespace
{

void require(bool condition, const char * what)
{
  if (!condition) {
    std::fprintf(stderr, "violated: %s\n", what);
    std::abort();
  }
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
    std::memcpy(buffer.reserve(payload.size + 1), payload.data, payload.size);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t * data, size_t size)
{
  static Buffer buffer;
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
