#include "vision/frame_memory.h"

#include <algorithm>
#include <atomic>
#include <new>

namespace g4v {
namespace {

constexpr std::align_val_t kLine{64};

uint64_t NextStamp() {
  static std::atomic<uint64_t> last{0};
  return ++last;
}

}  // namespace

FrameMemory::Plan FrameMemory::Arrange(std::span<const FrameKey> keys, int64_t values_per_frame,
                                       int64_t most) {
  const auto count = static_cast<int64_t>(keys.size());
  if (values_per_frame != values_per_frame_) held_.clear();
  Reserve(std::max(count, most), values_per_frame);

  constexpr int64_t kNone = -1;
  std::vector<int64_t> slot_of(keys.size(), kNone);
  std::vector<bool> taken(std::max(keys.size(), held_.size()), false);
  for (size_t frame = 0; frame < keys.size(); ++frame) {
    for (size_t slot = 0; slot < held_.size(); ++slot) {
      if (taken[slot] || !held_[slot].valid || held_[slot].key != keys[frame]) continue;
      slot_of[frame] = static_cast<int64_t>(slot);
      taken[slot] = true;
      break;
    }
  }

  int64_t next = 0;
  const auto free_slot = [&] {
    while (taken[static_cast<size_t>(next)]) ++next;
    taken[static_cast<size_t>(next)] = true;
    return next;
  };
  held_.resize(std::max(keys.size(), held_.size()));
  for (int64_t& slot : slot_of) {
    if (slot < count) continue;  // kNone, too
    const int64_t from = slot;
    slot = free_slot();
    CopySlot(slot, from);
    held_[static_cast<size_t>(slot)] = held_[static_cast<size_t>(from)];
  }
  held_.resize(keys.size());

  Plan plan;
  for (size_t frame = 0; frame < keys.size(); ++frame) {
    if (slot_of[frame] != kNone) continue;
    slot_of[frame] = free_slot();
    held_[static_cast<size_t>(slot_of[frame])].valid = false;
    const auto twin = std::ranges::find(keys, keys[frame]) - keys.begin();
    const int64_t from = slot_of[static_cast<size_t>(twin)];
    if (static_cast<size_t>(twin) < frame) {
      plan.copies.push_back({slot_of[frame], from});
    } else {
      plan.missing.push_back({slot_of[frame], static_cast<int64_t>(frame)});
    }
  }
  plan.slots = std::move(slot_of);
  return plan;
}

void FrameMemory::Complete(const Plan& plan, std::span<const FrameKey> keys) {
  for (const auto& [slot, frame] : plan.missing) {
    held_[static_cast<size_t>(slot)] = {true, keys[static_cast<size_t>(frame)], NextStamp()};
  }
  for (const auto& [to, from] : plan.copies) {
    CopySlot(to, from);
    held_[static_cast<size_t>(to)] = held_[static_cast<size_t>(from)];
  }
}

void FrameMemory::Reserve(int64_t slots, int64_t values_per_frame) {
  if (slots <= capacity_ && values_per_frame == values_per_frame_) return;
  // Not written to: pages that no frame needs are never there.
  Values larger = Allocate(slots * values_per_frame);
  std::copy_n(values_.get(), held_.size() * static_cast<size_t>(values_per_frame), larger.get());
  values_ = std::move(larger);
  capacity_ = slots;
  values_per_frame_ = values_per_frame;
}

FrameMemory::Values FrameMemory::Allocate(int64_t count) {
  const size_t bytes = static_cast<size_t>(count) * sizeof(float);
  return Values(static_cast<float*>(::operator new(bytes, kLine)));
}

void FrameMemory::Free::operator()(float* values) const { ::operator delete(values, kLine); }

void FrameMemory::CopySlot(int64_t to, int64_t from) {
  std::copy_n(slot(from), values_per_frame_, slot(to));
}

}  // namespace g4v
