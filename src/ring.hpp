// Copyright yolox_trt_ros contributors. Licensed under the Apache License, Version 2.0.

#ifndef YOLOX_TRT_ROS__RING_HPP_
#define YOLOX_TRT_ROS__RING_HPP_

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

namespace yolox_trt_ros
{

/// Page-aligned memory that grows and is kept from image to image.
/**
 * The one place where payload memory is obtained: memory that a device is to read directly is
 * registered with it here.
 */
class Buffer
{
public:
  Buffer() = default;
  Buffer(const Buffer &) = delete;
  Buffer & operator=(const Buffer &) = delete;
  ~Buffer();

  /// Makes room for `size` bytes and returns where they begin; what was there may be gone.
  /**
   * \throws std::bad_alloc
   */
  char * reserve(size_t size);

  char * data() const {return data_;}
  size_t capacity() const {return capacity_;}

private:
  char * data_ = nullptr;
  size_t capacity_ = 0;
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

  Ring(std::shared_ptr<Signal> signal, size_t most);

  /// Whether `lease` has a buffer to give. The signal's mutex is held.
  bool has_room() const {return !free_.empty() || made_ < most_;}

  /// Takes a buffer out. The signal's mutex is held, and there is room.
  Lease lease();

private:
  std::shared_ptr<Signal> signal_;
  size_t most_;
  size_t made_ = 0;
  std::vector<std::unique_ptr<Buffer>> free_;
};

}  // namespace yolox_trt_ros

#endif  // YOLOX_TRT_ROS__RING_HPP_
