// Copyright yolox_trt_ros contributors. Licensed under the Apache License, Version 2.0.

#include "image_reader.hpp"

#include <algorithm>
#include <limits>
#include <stdexcept>

#include "fastcdr/FastBuffer.h"
#include "fastcdr/config.h"
#include "fastcdr/exceptions/Exception.h"

namespace yolox_trt_ros
{
namespace
{

using eprosima::fastcdr::Cdr;

#if FASTCDR_VERSION_MAJOR < 2
constexpr auto kVersion = Cdr::DDS_CDR;
const char * position(Cdr & cdr) {return cdr.getCurrentPosition();}
auto state(Cdr & cdr) {return cdr.getState();}
template<typename State>
void restore(Cdr & cdr, State & to) {cdr.setState(to);}
bool is_plain(Cdr & cdr) {return cdr.getDDSCdrPlFlag() == Cdr::DDS_CDR_WITHOUT_PL;}
#else
constexpr auto kVersion = eprosima::fastcdr::CdrVersion::XCDRv1;
const char * position(Cdr & cdr) {return cdr.get_current_position();}
auto state(Cdr & cdr) {return cdr.get_state();}
template<typename State>
void restore(Cdr & cdr, State & to) {cdr.set_state(to);}
bool is_plain(Cdr & cdr)
{
  return cdr.get_encoding_flag() == eprosima::fastcdr::EncodingAlgorithmFlag::PLAIN_CDR;
}
#endif

/// The bytes of a message up to its end as Fast CDR is to see it. Before 2.3 it does not look at the
/// header's last bits, which say how far a message was filled up to a multiple of four.
size_t without_padding(const char * message, size_t size)
{
#if FASTCDR_VERSION_MAJOR < 2 || (FASTCDR_VERSION_MAJOR == 2 && FASTCDR_VERSION_MINOR < 3)
  const size_t padding = size % 4 ? 0 : message[3] & 3;
  return size - std::min(padding, size - 4);
#else
  (void)message;
  return size;
#endif
}

/// The header of a message may claim more padding than there is message. Fast CDR (2.3) then puts
/// its end before its beginning and believes in a nearly endless message.
void require_an_end(Cdr & cdr)
{
  auto here = state(cdr);
  if (cdr.jump(std::numeric_limits<size_t>::max() / 2)) {
    restore(cdr, here);
    throw std::length_error("message ends early: it is shorter than the padding it claims");
  }
}

template<typename Number>
Number read_number(Cdr & cdr)
{
  Number value;
  cdr >> value;  // throws at the end of the message
  return value;
}

/// Steps over `size` bytes and returns where they lie.
Payload read_bytes(Cdr & cdr, uint32_t size)
{
  const char * begin = position(cdr);
  if (!cdr.jump(size)) {
    throw std::length_error(
            "message ends early: expected " + std::to_string(size) + " further bytes");
  }
  return {begin, size};
}

std::string read_text(Cdr & cdr)
{
  const auto size = read_number<uint32_t>(cdr);
  if (size < 1 || size > kMaxString) {
    throw std::length_error(
            "string of " + std::to_string(size) + " bytes: expected 1 to " +
            std::to_string(kMaxString));
  }
  const char * begin = read_bytes(cdr, size - 1).data;
  // Read, not stepped over: after a step Fast CDR 1 does not align the number that follows.
  read_number<uint8_t>(cdr);
  return {begin, size - 1};
}

/// The size of a payload behind its header. No encoding has more than three planes of a row each.
uint32_t read_payload_size(Cdr & cdr, Kind kind, const ImageHead & head)
{
  const auto size = read_number<uint32_t>(cdr);
  const uint64_t most = 4 * uint64_t{head.step} * head.height + kSlack;
  if (kind == Kind::kImage && size > most) {
    throw std::length_error(
            "image of " + std::to_string(head.height) + " rows with step " +
            std::to_string(head.step) + " carries " + std::to_string(size) +
            " bytes: expected at most " + std::to_string(most));
  }
  return size;
}

Payload read_members(Cdr & cdr, Kind kind, ImageHead & head)
{
  // What has read the header may understand more encodings than ROS writes.
  if (!is_plain(cdr)) {
    throw std::invalid_argument(
            "expected a plain CDR message, got one with another encapsulation header");
  }
  require_an_end(cdr);
  head.seconds = read_number<int32_t>(cdr);
  head.nanoseconds = read_number<uint32_t>(cdr);
  head.frame_id = read_text(cdr);
  if (kind == Kind::kImage) {
    head.height = read_number<uint32_t>(cdr);
    head.width = read_number<uint32_t>(cdr);
    head.encoding = read_text(cdr);
    head.big_endian = read_number<uint8_t>(cdr) != 0;
    head.step = read_number<uint32_t>(cdr);
  } else {
    head.encoding = read_text(cdr);
    head.height = head.width = head.step = 0;
    head.big_endian = false;
  }
  return read_bytes(cdr, read_payload_size(cdr, kind, head));
}

}  // namespace

Payload read_image(Cdr & cdr, Kind kind, ImageHead & head, std::string & problem)
{
  try {
    return read_members(cdr, kind, head);
  } catch (const eprosima::fastcdr::exception::Exception & error) {
    problem = std::string("message ends early: ") + error.what();
  } catch (const std::exception & error) {
    problem = error.what();
  }
  return {};
}

Payload read_serialized_image(
  char * message, size_t size, Kind kind, ImageHead & head, std::string & problem)
{
  if (size < 4 || message[0] != 0 || (message[1] & ~1) != 0) {
    problem = "expected a plain CDR message, got " + std::to_string(size) +
      " bytes with another encapsulation header";
    return {};
  }
  eprosima::fastcdr::FastBuffer buffer(message, without_padding(message, size));
  Cdr cdr(buffer, Cdr::DEFAULT_ENDIAN, kVersion);
  cdr.read_encapsulation();
  return read_image(cdr, kind, head, problem);
}

}  // namespace yolox_trt_ros
