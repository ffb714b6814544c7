// Copies between the host's memory and a device's, by a session of one Identity: the C ABI has no
// other way that every version and provider knows.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "ort/session.h"

namespace g4v::ort {

class DeviceCopy {
 public:
  DeviceCopy(std::shared_ptr<Environment> environment, const SessionOptions& options);

  // float32, in memory that no other session's runs take room of; this must outlive it.
  std::unique_ptr<DeviceTensor> Allocate(std::vector<int64_t> shape);
  // Both are done when they return.
  void Upload(const float* from, DeviceTensor& to, int64_t first, int64_t count);
  void Download(const DeviceTensor& from, float* to, int64_t count);

 private:
  Session session_;
};

}  // namespace g4v::ort
