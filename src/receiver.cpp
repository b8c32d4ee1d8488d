// Copyright yolox_trt_ros contributors. Licensed under the Apache License, Version 2.0.

#include "receiver.hpp"

#include <algorithm>
#include <cstring>
#include <limits>
#include <stdexcept>

#include "direct_type_support.hpp"
#include "rcl/error_handling.h"
#include "rcutils/types/uint8_array.h"

namespace yolox_trt_ros
{
namespace
{

/// Longest memory of announcements; to forget old ones is safe.
constexpr size_t kMostAnnounced = 1000;
/// Messages none of which is passed over once an announced one turned out not to be there.
constexpr size_t kCareful = 1000;

enum class Taken { kNothing, kMessage };

int64_t monotonic_ns()
{
  return std::chrono::nanoseconds(std::chrono::steady_clock::now().time_since_epoch()).count();
}

/// Turns rcl's answer into ours; an error other than "nothing there" becomes the problem.
Taken judge(rcl_ret_t code, std::string & problem)
{
  if (code == RCL_RET_SUBSCRIPTION_TAKE_FAILED) {
    rcl_reset_error();
    return Taken::kNothing;
  }
  if (code != RCL_RET_OK) {
    problem = std::string("the middleware could not read it: ") + rcl_get_error_string().str;
    rcl_reset_error();
  }
  return Taken::kMessage;
}

/// Takes a message of a direct subscription; without an image its payload is passed over.
Taken take_direct(const rcl_subscription_t * subscription, Image * image, rmw_message_info_t & info)
{
  DirectMessage message{image ? &*image->buffer : nullptr, {}, 0, {}};
  const auto taken = judge(rcl_take(subscription, &message, &info, nullptr), message.problem);
  if (image) {
    image->head = std::move(message.head);
    image->size = message.size;
    image->problem = std::move(message.problem);
  }
  return taken;
}

/// Lets the middleware write a whole serialised message into a ring's buffer.
void * reallocate(void *, size_t size, void * buffer)
{
  try {
    return static_cast<Buffer *>(buffer)->reserve(size);
  } catch (const std::bad_alloc &) {
    return nullptr;
  }
}

/// rcutils gives memory back that could not grow; the buffer keeps it.
void keep(void *, void *) {}

Taken take_serialized(
  const rcl_subscription_t * subscription, Kind kind, Image & image, rmw_message_info_t & info)
{
  auto & buffer = *image.buffer;
  auto message = rcutils_get_zero_initialized_uint8_array();
  message.allocator = rcutils_get_default_allocator();
  message.allocator.reallocate = reallocate;
  message.allocator.deallocate = keep;
  message.allocator.state = &buffer;
  message.buffer = reinterpret_cast<uint8_t *>(buffer.reserve(1));
  message.buffer_capacity = buffer.capacity();
  const auto taken =
    judge(rcl_take_serialized_message(subscription, &message, &info, nullptr), image.problem);
  if (taken == Taken::kMessage && image.problem.empty()) {
    const auto payload = read_serialized_image(
      buffer.data(), message.buffer_length, kind, image.head, image.problem);
    image.offset = payload.data ? payload.data - buffer.data() : 0;
    image.size = payload.size;
  }
  return taken;
}

}  // namespace

/// Counts what publishers sent in between two of their messages that came.
class Receiver::Gaps
{
public:
  /// Whether the middleware numbers messages; Cyclone DDS does not.
  bool numbered() const {return numbered_;}

  /// Nothing if that cannot be known: a new publisher, or a middleware without numbers.
  std::optional<uint64_t> before(const rmw_message_info_t & info)
  {
    const auto number = info.publication_sequence_number;
    numbered_ = number != RMW_MESSAGE_INFO_SEQUENCE_NUMBER_UNSUPPORTED;
    if (!numbered_) {
      return std::nullopt;
    }
    const auto known = std::find_if(
      publishers_.begin(), publishers_.end(), [&info](const Publisher & publisher) {
        const auto & gid = publisher.gid.data;
        return std::memcmp(gid, info.publisher_gid.data, sizeof(gid)) == 0;
      });
    std::optional<uint64_t> gap;
    if (known != publishers_.end()) {
      if (number > known->number) {
        gap = number - known->number - 1;
      }
      publishers_.erase(known);
    } else if (publishers_.size() == kMostPublishers) {
      publishers_.pop_back();
    }
    publishers_.insert(publishers_.begin(), {info.publisher_gid, number, ++messages_});
    return gap;
  }

  /// Whether no second publisher was heard of late.
  bool one_publisher() const
  {
    return publishers_.size() < 2 || publishers_[1].heard + kLately <= messages_;
  }

private:
  static constexpr size_t kMostPublishers = 8;
  static constexpr uint64_t kLately = 100;

  struct Publisher
  {
    rmw_gid_t gid;
    uint64_t number;
    /// How many messages had come when this one had.
    uint64_t heard;
  };

  bool numbered_ = false;
  uint64_t messages_ = 0;
  /// Whose message came last goes first.
  std::vector<Publisher> publishers_;
};

struct Receiver::Camera
{
  size_t number;
  const rcl_subscription_t * subscription;
  Kind kind;
  bool direct;
  /// Most messages that the middleware keeps.
  size_t depth;
  std::shared_ptr<Signal> signal;
  std::shared_ptr<Ring> ring;
  /// Whether a message may be there; only an attempt to take it tells.
  bool maybe = false;
  /// How often the middleware announced messages.
  uint64_t announcements = 0;
  /// When each message was announced that is not known to be taken or replaced, oldest first.
  std::deque<int64_t> announced;
  /// Whether the last message taken was passed over because a newer one was announced.
  bool passed_over = false;
  /// Messages to come of which none is passed over.
  size_t careful = 0;
  uint64_t replaced = 0;
  uint64_t lost = 0;
  Gaps gaps;

  int64_t since() const {return announced.empty() ? 0 : announced.front();}

  /// Forgets the announcements of a taken message and of those before it that were replaced, and
  /// returns when it was announced.
  /**
   * Without the gap, or with two publishers, nobody knows which announcement was whose: then all
   * are forgotten, which makes the count of waiting messages too small, never too large.
   */
  int64_t settle(std::optional<uint64_t> gap)
  {
    if (!gaps.one_publisher()) {
      gap.reset();
    }
    const auto replaced_before = std::min<uint64_t>(gap.value_or(0), announced.size());
    announced.erase(announced.begin(), announced.begin() + static_cast<ptrdiff_t>(replaced_before));
    const int64_t when = announced.empty() ? monotonic_ns() : announced.front();
    if (!gap) {
      announced.clear();
    } else if (!announced.empty()) {
      announced.pop_front();
    }
    return when;
  }

  /// Notes that the middleware has no message; one that was announced is not to be had then.
  void found_empty()
  {
    if (passed_over || !announced.empty()) {
      careful = kCareful;
    }
    maybe = passed_over = false;
    announced.clear();
  }
};

Receiver::Receiver(size_t buffers, std::shared_ptr<const PinnedMemory> locks)
: buffers_(buffers), locks_(std::move(locks)) {}

Receiver::~Receiver()
{
  close();
}

void Receiver::add(const rcl_subscription_t * subscription, Kind kind, bool direct)
{
  const auto * qos = rcl_subscription_get_actual_qos(subscription);
  if (qos == nullptr) {
    rcl_reset_error();
    throw std::runtime_error("not a valid subscription");
  }
  const bool all = qos->history == RMW_QOS_POLICY_HISTORY_KEEP_ALL;
  auto camera = std::make_unique<Camera>();
  camera->number = cameras_.size();
  camera->subscription = subscription;
  camera->kind = kind;
  camera->direct = direct;
  camera->depth = all ? std::numeric_limits<size_t>::max() : std::max<size_t>(qos->depth, 1);
  camera->signal = signal_;
  camera->ring = std::make_shared<Ring>(signal_, buffers_, locks_);
  if (rcl_subscription_set_on_new_message_callback(subscription, on_new_message, camera.get()) !=
    RCL_RET_OK)
  {
    const std::string reason = rcl_get_error_string().str;
    rcl_reset_error();
    throw std::runtime_error("the middleware does not announce messages: " + reason);
  }
  const std::lock_guard<std::mutex> lock(signal_->mutex);
  cameras_.push_back(std::move(camera));
  signal_->changed.notify_one();
}

void Receiver::on_new_message(const void * user_data, size_t count)
{
  // The middleware hands back the pointer that `add` gave it.
  auto & camera = *static_cast<Camera *>(const_cast<void *>(user_data));
  const auto now = monotonic_ns();
  const std::lock_guard<std::mutex> lock(camera.signal->mutex);
  camera.maybe = true;
  ++camera.announcements;
  camera.announced.insert(camera.announced.end(), std::min(count, kMostAnnounced), now);
  if (camera.announced.size() > kMostAnnounced) {  // nobody takes them: no buffer is free
    camera.announced.erase(
      camera.announced.begin(), camera.announced.end() - static_cast<ptrdiff_t>(kMostAnnounced));
  }
  camera.signal->changed.notify_one();
}

Receiver::Camera * Receiver::next()
{
  Camera * oldest = nullptr;
  for (const auto & camera : cameras_) {
    // Without a buffer to spare messages stay in the middleware, where new ones replace old ones.
    if (camera->maybe && camera->ring->has_room() &&
      (oldest == nullptr || camera->since() < oldest->since()))
    {
      oldest = camera.get();
    }
  }
  return oldest;
}

std::optional<Arrival> Receiver::take(std::chrono::nanoseconds timeout)
{
  const auto until = std::chrono::steady_clock::now() + timeout;
  std::unique_lock<std::mutex> lock(signal_->mutex);
  while (!stopped_) {
    auto * camera = next();
    if (camera != nullptr) {
      if (auto arrival = take_from(*camera, lock)) {
        return arrival;
      }
    } else if (signal_->changed.wait_until(lock, until) == std::cv_status::timeout) {
      break;
    }
  }
  return std::nullopt;
}

/// Takes one message. The lock is held at both ends, and not while the middleware works.
std::optional<Arrival> Receiver::take_from(Camera & camera, std::unique_lock<std::mutex> & lock)
{
  const auto announcements = camera.announcements;
  // Every message replaced before the last one taken is settled, and the middleware replaces
  // none before it keeps `depth`: so many are there, unless it refuses to read one.
  const auto waiting = std::min(camera.announced.size(), camera.depth);
  const bool superseded = camera.direct && waiting > 1 && camera.careful == 0;
  std::optional<Ring::Lease> lease;
  auto outsized = camera.ring->outsized();
  if (!superseded) {
    lease.emplace(camera.ring->lease());
  }

  lock.unlock();
  outsized.clear();
  auto image = lease ? std::make_shared<Image>(std::move(*lease)) : nullptr;
  rmw_message_info_t info = rmw_get_zero_initialized_message_info();
  const auto taken = camera.direct ?
    take_direct(camera.subscription, image.get(), info) :
    take_serialized(camera.subscription, camera.kind, *image, info);
  if (image) {
    image->buffer->settle();
  }
  if (taken == Taken::kNothing) {
    image.reset();  // gives the buffer back, which takes the lock
  }
  lock.lock();

  int64_t received = camera.since();
  if (taken == Taken::kMessage) {
    const auto gap = camera.gaps.before(info);
    camera.lost += gap.value_or(0);
    camera.replaced += superseded;
    camera.passed_over = superseded;
    camera.careful -= camera.careful > 0;
    received = camera.settle(gap);
    if (image) {
      camera.ring->note(image->size);
    }
  } else if (camera.announcements == announcements) {
    camera.found_empty();
  }
  if (taken == Taken::kMessage ? superseded : camera.replaced == 0) {
    return std::nullopt;
  }
  const auto lost = std::exchange(camera.lost, 0);
  return Arrival{
    camera.number, received, info.source_timestamp, std::exchange(camera.replaced, 0),
    camera.gaps.numbered() ? std::make_optional(lost) : std::nullopt, std::move(image)};
}

void Receiver::stop()
{
  const std::lock_guard<std::mutex> lock(signal_->mutex);
  stopped_ = true;
  signal_->changed.notify_one();
}

void Receiver::close()
{
  stop();
  for (const auto & camera : cameras_) {
    if (rcl_subscription_set_on_new_message_callback(camera->subscription, nullptr, nullptr) !=
      RCL_RET_OK)
    {
      rcl_reset_error();  // a subscription that is no longer valid calls nobody back
    }
  }
  cameras_.clear();
}

}  // namespace yolox_trt_ros
