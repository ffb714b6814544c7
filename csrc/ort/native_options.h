// OrtSessionOptions made from SessionOptions.
#pragma once

#include "ort/session.h"

namespace g4v::ort {

class NativeOptions {
 public:
  // Throws Error(InvalidArgument) for an unknown device and Error(Runtime) for one that cannot be
  // used.
  NativeOptions(const Environment& environment, const SessionOptions& options);
  ~NativeOptions();
  NativeOptions(const NativeOptions&) = delete;
  NativeOptions& operator=(const NativeOptions&) = delete;

  // The graph's files that are in memory; they must stay there until the session is made.
  void AddFiles(const GraphFile& graph);

  const OrtSessionOptions* get() const { return options_; }

 private:
  void Check(OrtStatus* status) const;
  // Adds to a complaint of a missing library what to install; releases the status.
  void CheckProvider(OrtStatus* status, const std::string& doing, const std::string& extra) const;
  void Fill(const SessionOptions& options);
  void AppendCuda(const SessionOptions& options);
  void AppendTensorRt(int device_id);
  void AppendTensorRtRtx(int device_id);

  const Environment& environment_;
  const abi::Api& api_;
  OrtSessionOptions* options_ = nullptr;
};

}  // namespace g4v::ort
