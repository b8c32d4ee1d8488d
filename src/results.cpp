// Copyright yolox_trt_ros contributors. Licensed under the Apache License, Version 2.0.

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "box_writer.hpp"
#include "rcl/error_handling.h"
#include "rcl/publisher.h"
#include "rmw/serialized_message.h"

namespace py = pybind11;

namespace yolox_trt_ros
{
namespace
{

template<typename Number>
using Array = py::array_t<Number, py::array::c_style | py::array::forcecast>;

std::runtime_error refused(const char * what)
{
  const std::string why = rcl_get_error_string().str;
  rcl_reset_error();
  return std::runtime_error(std::string(what) + ": " + why);
}

/// Whether the topic has a reader: without one the middleware still copies what it is given.
bool wanted(const rcl_publisher_t * publisher)
{
  size_t readers = 0;
  if (rcl_publisher_get_subscription_count(publisher, &readers) != RCL_RET_OK) {
    throw refused("the middleware does not tell who listens");
  }
  return readers > 0;
}

/// Hands bytes over as they lie there; they are free again afterwards.
void publish(const rcl_publisher_t * publisher, uint8_t * bytes, size_t size)
{
  auto message = rmw_get_zero_initialized_serialized_message();
  message.buffer = bytes;
  message.buffer_length = message.buffer_capacity = size;
  const py::gil_scoped_release others_run;
  if (rcl_publish_serialized_message(publisher, &message, nullptr) != RCL_RET_OK) {
    throw refused("the middleware refused a message");
  }
}

using Missing = std::pair<int32_t, size_t>;
/// Place, quantity and type of each number.
using Numbers = std::vector<std::tuple<uint32_t, std::string, char>>;

Template made_of(const std::string & bytes, const Numbers & numbers)
{
  Template made{bytes, {}};
  for (const auto & [place, quantity, code] : numbers) {
    made.numbers.push_back({place, quantity_of(quantity), code});
  }
  return made;
}

/// Writes a message; if a template is missing, returns its class and phase.
std::optional<Missing> write(
  BoxWriter & writer, int32_t seconds, uint32_t nanoseconds, const Array<float> & xyxy,
  const Array<float> & score, const Array<int32_t> & class_id,
  const std::optional<Array<int64_t>> & track_id)
{
  const auto count = static_cast<size_t>(class_id.size());
  if (static_cast<size_t>(score.size()) != count || static_cast<size_t>(xyxy.size()) != 4 * count) {
    throw py::value_error("expected four corners and a score for each class");
  }
  if (track_id && static_cast<size_t>(track_id->size()) != count) {
    throw py::value_error("expected a track for each class");
  }
  const Boxes boxes{
    count, xyxy.data(), score.data(), class_id.data(), track_id ? track_id->data() : nullptr};
  size_t phase = 0;
  const auto known = writer.write(boxes, seconds, nanoseconds, phase);
  if (known < count) {
    return Missing{BoxWriter::which(boxes, known), phase};
  }
  return std::nullopt;
}

/// A view that is good until the next message is written.
py::buffer_info message(BoxWriter & writer)
{
  auto & bytes = writer.message();
  return {bytes.data(), static_cast<py::ssize_t>(bytes.size()), true};
}

}  // namespace

/// Adds what results are written and published by.
void bind_results(py::module_ & m)
{
  py::class_<BoxWriter>(
    m, "BoxWriter", py::buffer_protocol(),
    "Writes serialised arrays of detections from templates; as a buffer, what was written last. "
    "Not for two threads at a time.")
  .def_buffer(message)
  .def(
    py::init(
      [](
        const std::string & front, const Numbers & numbers, size_t encapsulation, uint32_t count) {
        return std::make_unique<BoxWriter>(
          ArrayTemplate{made_of(front, numbers), encapsulation, count});
      }),
    py::arg("front").noconvert(), py::arg("numbers"), py::arg("encapsulation"), py::arg("count"))
  .def(
    "learn",
    [](BoxWriter & self, int32_t class_id, size_t phase, const std::string & element,
    const Numbers & numbers) {
      self.learn(class_id, phase, made_of(element, numbers));
    },
    py::arg("class_id"), py::arg("phase"), py::arg("element").noconvert(), py::arg("numbers"))
  .def(
    "set_image", &BoxWriter::set_image, py::arg("width"), py::arg("height"),
    "Set the size of the images from now on, for what of the boxes lies within them.")
  .def(
    "write", write, py::arg("seconds"), py::arg("nanoseconds"), py::arg("xyxy"), py::arg("score"),
    py::arg("class_id"), py::arg("track_id") = py::none(),
    "Write a message; or return class and phase of a template that is to be learnt first.");

  m.attr("TRACKED") = kTracked;
  m.attr("TRACK_DIGITS") = kTrackDigits;
  m.def(
    "wanted",
    [](uintptr_t publisher) {return wanted(reinterpret_cast<const rcl_publisher_t *>(publisher));},
    py::arg("publisher"), "Return whether a topic has a reader.");
  m.def(
    "publish",
    [](uintptr_t publisher, const py::buffer & message) {
      const auto bytes = message.request();
      publish(
        reinterpret_cast<const rcl_publisher_t *>(publisher), static_cast<uint8_t *>(bytes.ptr),
        static_cast<size_t>(bytes.size * bytes.itemsize));
    },
    py::arg("publisher"), py::arg("message"), "Publish a serialised message from where it lies.");
}

}  // namespace yolox_trt_ros
