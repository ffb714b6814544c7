#include "ort/gpu_work.h"

#include <memory>
#include <shared_mutex>

#include "base/process.h"

namespace g4v::ort {
namespace {

std::shared_mutex& Gpu() {
  return *MadeOnce([] { return std::make_unique<std::shared_mutex>(); });
}

thread_local bool alone = false;

}  // namespace

GpuWork::GpuWork(bool on_gpu) {
  if (on_gpu && !alone) lock_ = std::shared_lock(Gpu());
}

std::optional<GpuAlone> GpuAlone::Try() {
  std::unique_lock lock(Gpu(), std::try_to_lock);
  if (!lock.owns_lock()) return std::nullopt;
  return GpuAlone(std::move(lock));
}

GpuAlone::GpuAlone(std::unique_lock<std::shared_mutex> lock) : lock_(std::move(lock)) {
  alone = true;
}

GpuAlone::~GpuAlone() {
  if (lock_.owns_lock()) alone = false;
}

}  // namespace g4v::ort
