// Keeps the abstractor's keys and values of the frames that a chat saw last. Of a video that grows,
// or of which a window slides on, only the new frames are then computed.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

namespace g4v {

using FrameKey = std::array<uint8_t, 32>;  // SHA-256 of a frame's size and pixels

// Slots of `values_per_frame` floats, one for each frame of the last video, side by side, in the
// order in which the frames came. Attention gives the same in any order, but for rounding.
class FrameMemory {
 public:
  // What is to be done before all frames of a video are there.
  struct Plan {
    struct Missing {
      int64_t slot;
      int64_t frame;  // of the video
    };
    struct Copy {
      int64_t to;
      int64_t from;
    };
    std::vector<Missing> missing;  // by slot
    std::vector<int64_t> slots;    // of each frame of the video
    std::vector<Copy> copies;      // of slots that are filled first: frames that are alike
  };

  // Makes room for one slot a key; frames that are there stay where they are, or move where they
  // stand beyond the end. Slots in the plan lose what they held. `most`: frames to make room for at
  // once, where there are to be more.
  Plan Arrange(std::span<const FrameKey> keys, int64_t values_per_frame, int64_t most);
  // The slots hold what the plan asked for.
  void Complete(const Plan& plan, std::span<const FrameKey> keys);

  int64_t frames() const { return static_cast<int64_t>(held_.size()); }
  int64_t capacity() const { return capacity_; }  // slots that there is room for
  uint64_t bytes() const {
    return static_cast<uint64_t>(capacity_ * values_per_frame_) * sizeof(float);
  }
  // Tells what a filled slot holds: no other values of this process have the same, and none has 0.
  uint64_t stamp(int64_t index) const { return held_[static_cast<size_t>(index)].stamp; }
  float* slot(int64_t index) { return values_.get() + index * values_per_frame_; }

 private:
  struct Slot {
    bool valid = false;
    FrameKey key{};
    uint64_t stamp = 0;
  };

  // Begins with a line of the processor's caches, so that rows are whole lines: eight frames take
  // the abstractor 6% longer where they are not.
  struct Free {
    void operator()(float* values) const;
  };
  using Values = std::unique_ptr<float[], Free>;

  static Values Allocate(int64_t count);
  void Reserve(int64_t slots, int64_t values_per_frame);
  void CopySlot(int64_t to, int64_t from);

  std::vector<Slot> held_;
  Values values_;
  int64_t capacity_ = 0;  // slots
  int64_t values_per_frame_ = 0;
};

}  // namespace g4v
