// Copyright yolox_trt_ros contributors. Licensed under the Apache License, Version 2.0.

#ifndef YOLOX_TRT_ROS__RECEIVER_HPP_
#define YOLOX_TRT_ROS__RECEIVER_HPP_

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "image_reader.hpp"
#include "rcl/subscription.h"
#include "ring.hpp"

namespace yolox_trt_ros
{

/// A message that was taken: its head, and its payload in a buffer of its camera's ring.
struct Image
{
  explicit Image(Ring::Lease lease)
  : buffer(std::move(lease)) {}

  const char * data() const {return buffer->data() + offset;}

  Ring::Lease buffer;
  ImageHead head;
  /// Where in the buffer the payload lies.
  size_t offset = 0;
  size_t size = 0;
  /// Why the message is malformed; empty if it is not.
  std::string problem;
};

struct Arrival
{
  /// Number of the camera, in the order of `add`.
  size_t camera;
  /// When the middleware announced the message, CLOCK_MONOTONIC.
  int64_t received_ns;
  /// When its publisher handed it to the middleware, system clock of its machine; 0: not told.
  int64_t sent_ns;
  /// Messages passed over since the camera's last arrival because newer ones were waiting.
  uint64_t replaced;
  /// Messages of the same publisher that never came here since the one before; nothing where the
  /// middleware does not number messages.
  std::optional<uint64_t> lost;
  /// Nothing if all that there was to tell are replaced messages.
  std::shared_ptr<Image> image;
};

/// Takes image messages of several subscriptions on the calling thread.
/**
 * `take` may be called from one thread at a time; `stop` from any thread. A subscription must
 * outlive `close`.
 */
class Receiver
{
public:
  /// \param buffers most payload buffers of one camera.
  /// \param locks   for their memory; none: it stays as it is.
  explicit Receiver(size_t buffers, std::shared_ptr<const PinnedMemory> locks = nullptr);
  ~Receiver();
  Receiver(const Receiver &) = delete;
  Receiver & operator=(const Receiver &) = delete;

  /// Listens to a subscription.
  /**
   * \param direct whether the subscription was made with `direct_type_support`; otherwise whole
   *   serialised messages are taken, which costs the middleware one copy more.
   * \throws std::runtime_error the middleware does not announce messages.
   */
  void add(const rcl_subscription_t * subscription, Kind kind, bool direct);

  /// Waits for the next message; nothing if there is none in time.
  std::optional<Arrival> take(std::chrono::nanoseconds timeout);

  /// Ends `take`, now and for ever.
  void stop();

  /// Listens no longer.
  void close();

private:
  class Gaps;
  struct Camera;

  Camera * next();
  std::optional<Arrival> take_from(Camera & camera, std::unique_lock<std::mutex> & lock);

  static void on_new_message(const void * camera, size_t count);

  std::shared_ptr<Signal> signal_ = std::make_shared<Signal>();
  size_t buffers_;
  std::shared_ptr<const PinnedMemory> locks_;
  bool stopped_ = false;
  std::vector<std::unique_ptr<Camera>> cameras_;
};

}  // namespace yolox_trt_ros

#endif  // YOLOX_TRT_ROS__RECEIVER_HPP_
