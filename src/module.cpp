// Copyright yolox_trt_ros contributors. Licensed under the Apache License, Version 2.0.

#include <pybind11/functional.h>
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <chrono>
#include <cstring>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "direct_type_support.hpp"
#include "rcutils/error_handling.h"
#include "receiver.hpp"

namespace py = pybind11;

namespace yolox_trt_ros
{

void bind_results(py::module_ & m);

namespace
{

Kind kind_of(bool compressed)
{
  return compressed ? Kind::kCompressedImage : Kind::kImage;
}

py::object make_direct_type_support(const py::capsule & original, bool compressed)
{
  const auto * support = direct_type_support(
    original.get_pointer<rosidl_message_type_support_t>(), kind_of(compressed));
  if (support == nullptr) {
    rcutils_reset_error();
    return py::none();
  }
  return py::capsule(support);
}

std::shared_ptr<Image> read_serialized(const py::bytes & message, bool compressed)
{
  const auto bytes = static_cast<std::string_view>(message);
  const auto ring = std::make_shared<Ring>(std::make_shared<Signal>(), 1);
  auto image = std::make_shared<Image>(ring->lease());
  char * begin = image->buffer->reserve(bytes.size() + 1);
  std::memcpy(begin, bytes.data(), bytes.size());
  const auto payload = read_serialized_image(
    begin, bytes.size(), kind_of(compressed), image->head, image->problem);
  image->offset = payload.data ? payload.data - begin : 0;
  image->size = payload.size;
  return image;
}

using PythonLocks = std::optional<
  std::pair<std::function<bool(uintptr_t, size_t)>, std::function<void(uintptr_t)>>>;

/// Makes the functions of Python callable from threads that do not hold the interpreter's lock.
std::shared_ptr<const PinnedMemory> pinned_memory(const PythonLocks & functions)
{
  if (!functions) {
    return nullptr;
  }
  return std::make_shared<PinnedMemory>(
    PinnedMemory{
      [lock = functions->first](const void * memory, size_t size) {
        return lock(reinterpret_cast<uintptr_t>(memory), size);
      },
      [unlock = functions->second](const void * memory) {
        const py::gil_scoped_acquire held;
        try {
          unlock(reinterpret_cast<uintptr_t>(memory));
        } catch (py::error_already_set & error) {
          error.discard_as_unraisable("unlocking pages");
        }
      }});
}

/// Damaged names must not stop anybody: what is no UTF-8 becomes U+FFFD.
py::str text(const std::string & raw)
{
  auto * decoded = PyUnicode_DecodeUTF8(raw.data(), static_cast<ssize_t>(raw.size()), "replace");
  return py::reinterpret_steal<py::str>(decoded);
}

py::buffer_info payload(const Image & image)
{
  return {
    const_cast<char *>(image.data()), 1, py::format_descriptor<uint8_t>::format(), 1,
    {static_cast<py::ssize_t>(image.size)}, {1}, true};
}

}  // namespace

PYBIND11_MODULE(_native, m)
{
  m.doc() = "Images from the middleware into buffers of our own, results from templates into it.";

  m.def(
    "direct_type_support", make_direct_type_support,
    py::arg("original"), py::arg("compressed"),
    "Derive a type support that Receiver.add takes as direct; None if there can be none.");
  m.def(
    "read_serialized", read_serialized, py::arg("message"), py::arg("compressed"),
    "Read one serialised message.");

  bind_results(m);

  py::class_<Image, std::shared_ptr<Image>>(
    m, "Image", py::buffer_protocol(),
    "A message; as a buffer, its payload. The memory is used again when the last view is gone.")
  .def_buffer(payload)
  .def("__len__", [](const Image & image) {return image.size;})
  .def_property_readonly("seconds", [](const Image & image) {return image.head.seconds;})
  .def_property_readonly("nanoseconds", [](const Image & image) {return image.head.nanoseconds;})
  .def_property_readonly("frame_id", [](const Image & image) {return text(image.head.frame_id);})
  .def_property_readonly("encoding", [](const Image & image) {return text(image.head.encoding);})
  .def_property_readonly("height", [](const Image & image) {return image.head.height;})
  .def_property_readonly("width", [](const Image & image) {return image.head.width;})
  .def_property_readonly("step", [](const Image & image) {return image.head.step;})
  .def_property_readonly("big_endian", [](const Image & image) {return image.head.big_endian;})
  .def_property_readonly("problem", [](const Image & image) {return text(image.problem);});

  py::class_<Arrival>(m, "Arrival")
  .def_readonly("camera", &Arrival::camera)
  .def_readonly("received_ns", &Arrival::received_ns)
  .def_readonly("sent_ns", &Arrival::sent_ns)
  .def_readonly("replaced", &Arrival::replaced)
  .def_readonly("lost", &Arrival::lost)
  .def_readonly("image", &Arrival::image);

  py::class_<Receiver>(m, "Receiver")
  .def(
    py::init(
      [](size_t buffers, const PythonLocks & locks) {
        return std::make_unique<Receiver>(buffers, pinned_memory(locks));
      }),
    py::arg("buffers"), py::arg("pinned_memory") = py::none())
  .def(
    "add",
    [](Receiver & self, uintptr_t subscription, bool compressed, bool direct) {
      self.add(
        reinterpret_cast<const rcl_subscription_t *>(subscription), kind_of(compressed), direct);
    },
    py::arg("subscription"), py::arg("compressed"), py::arg("direct"))
  .def(
    "take",
    [](Receiver & self, double timeout_s) {
      return self.take(
        std::chrono::duration_cast<std::chrono::nanoseconds>(
          std::chrono::duration<double>(timeout_s)));
    },
    py::arg("timeout_s"), py::call_guard<py::gil_scoped_release>())
  .def("stop", &Receiver::stop)
  // The middleware's threads may be announcing a message and must not wait for the interpreter.
  .def("close", &Receiver::close, py::call_guard<py::gil_scoped_release>());
}

}  // namespace yolox_trt_ros
