// Copyright yolox_trt_ros contributors. Licensed under the Apache License, Version 2.0.

#ifndef YOLOX_TRT_ROS__RING_HPP_
#define YOLOX_TRT_ROS__RING_HPP_

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

namespace yolox_trt_ros
{

/// Payloads from here on are larger than what a core's own caches hold.
constexpr size_t kStreamed = 1 << 20;

/// Makes memory readable for a device, and undoes it; no lock is held during either call.
struct PinnedMemory
{
  /// Returns whether `size` bytes from an address are locked now.
  std::function<bool(const void *, size_t)> lock;
  /// Called before locked memory is freed, whatever becomes of the call: it throws nothing.
  std::function<void(const void *)> unlock;
};

/// Page-aligned memory that grows and is kept from image to image.
/**
 * The one place where payload memory is obtained. It is whole pages, huge ones if it is large, so
 * that a device may read the aligned words that a payload begins and ends in.
 */
class Buffer
{
public:
  /// \param locks    for the memory; none: it stays as it is.
  /// \param streamed payloads from so many bytes on are copied past the caches.
  explicit Buffer(
    std::shared_ptr<const PinnedMemory> locks = nullptr, size_t streamed = kStreamed)
  : locks_(std::move(locks)), streamed_(streamed) {}
  Buffer(const Buffer &) = delete;
  Buffer & operator=(const Buffer &) = delete;
  ~Buffer();

  /// Makes room for `size` bytes and returns where they begin; what was there may be gone.
  /**
   * \throws std::bad_alloc
   */
  char * reserve(size_t size);

  /// Makes room for a payload and copies it in.
  /**
   * \throws std::bad_alloc
   */
  void write(const char * from, size_t size);

  /// Locks new memory, and lets go of what it replaced. The caller holds no lock.
  void settle();

  char * data() const {return data_.get();}
  size_t capacity() const {return capacity_;}

private:
  struct Free {void operator()(char * data) const {std::free(data);}};
  using Memory = std::unique_ptr<char, Free>;

  void unlock(Memory & memory);

  std::shared_ptr<const PinnedMemory> locks_;
  size_t streamed_;
  Memory data_;
  size_t capacity_ = 0;
  bool settled_ = false;
  bool locked_ = false;
  /// Locked memory that became too small.
  Memory outgrown_;
};

/// What one thread waits for: a message arrived, or a buffer came back.
struct Signal
{
  std::mutex mutex;
  std::condition_variable changed;
};

/// The buffers of one camera: made when first needed, used again for ever.
class Ring : public std::enable_shared_from_this<Ring>
{
public:
  /// A buffer that goes back to its ring when the last user drops it.
  class Lease
  {
public:
    Lease(std::shared_ptr<Ring> ring, std::unique_ptr<Buffer> buffer);
    Lease(Lease &&) = default;
    Lease & operator=(Lease &&) = delete;
    ~Lease();
    Buffer & operator*() const {return *buffer_;}
    Buffer * operator->() const {return buffer_.get();}

private:
    std::shared_ptr<Ring> ring_;
    std::unique_ptr<Buffer> buffer_;
  };

  /// \param locks for the buffers' memory; none: it stays as it is.
  Ring(
    std::shared_ptr<Signal> signal, size_t most, std::shared_ptr<const PinnedMemory> locks = nullptr);

  /// Notes how large a message was. The signal's mutex is held.
  void note(size_t size);

  /// Takes out the buffers that are far larger than what came of late, for the caller to free.
  /**
   * One large image would otherwise be paid for ever. The signal's mutex is held here, and not while
   * they are freed.
   */
  std::vector<std::unique_ptr<Buffer>> outsized();

  /// Whether `lease` has a buffer to give. The signal's mutex is held.
  bool has_room() const {return !free_.empty() || made_ < most_;}

  /// Takes a buffer out. The signal's mutex is held, and there is room.
  Lease lease();

private:
  std::shared_ptr<Signal> signal_;
  size_t most_;
  std::shared_ptr<const PinnedMemory> locks_;
  size_t made_ = 0;
  /// The largest message of so many, now and before.
  static constexpr size_t kNoted = 64;
  size_t largest_ = 0;
  size_t largest_before_ = 0;
  size_t noted_ = 0;
  std::vector<std::unique_ptr<Buffer>> free_;
};

}  // namespace yolox_trt_ros

#endif  // YOLOX_TRT_ROS__RING_HPP_
