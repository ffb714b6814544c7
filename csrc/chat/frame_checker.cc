#include "chat/frame_checker.h"

#include <algorithm>
#include <string>

#include "base/error.h"

namespace g4v {
namespace {

constexpr float kUnsafe = 0.5f;
// More than 4 frames of 10, the rule of GPT4Video's authors, where the bundle says nothing.
constexpr double kWithholdAbove = 0.4;

void CheckScores(const std::vector<float>& scores, int64_t frames, const char* whose) {
  if (static_cast<int64_t>(scores.size()) != frames) {
    throw Error(Code::Runtime, std::string(whose) + " frame checker gave " +
                                   std::to_string(scores.size()) + " scores for " +
                                   std::to_string(frames) + " frames");
  }
  for (const float score : scores) {
    if (score >= 0.0f && score <= 1.0f) continue;  // false for NaN
    throw Error(Code::Runtime, std::string(whose) + " frame checker gave the score " +
                                   std::to_string(score) + "; scores are from 0 to 1");
  }
}

}  // namespace

FrameChecker::FrameChecker(std::shared_ptr<ort::Environment> environment, const Bundle& bundle,
                           const Placement& placement, FrameEncoder* encoder, HostFrameChecker host)
    : encoder_(encoder), host_(std::move(host)), withhold_above_(kWithholdAbove) {
  const auto& spec = bundle.manifest().components.frame_checker;
  if (!spec) return;
  withhold_above_ = spec->withhold_above;
  session_.emplace(std::move(environment),
                   GraphFor(bundle, spec->variants, placement, "frame_checker"));
}

std::vector<float> FrameChecker::Score(const Frames& frames, ort::RunControl* control) {
  std::vector<float> scores = ScoreByBundle(frames, control);
  if (!host_) return scores;
  const std::vector<float> given = host_(frames);
  CheckScores(given, frames.count, "the host's");
  if (scores.empty()) return given;
  std::ranges::transform(scores, given, scores.begin(),
                         [](float left, float right) { return std::max(left, right); });
  return scores;
}

FrameChecker::Verdict FrameChecker::Judge(const Frames& frames, ort::RunControl* control) {
  const std::vector<float> scores = Score(frames, control);
  Verdict verdict;
  verdict.unsafe =
      static_cast<int>(std::ranges::count_if(scores, [](float score) { return score >= kUnsafe; }));
  verdict.withhold = verdict.unsafe > withhold_above_ * static_cast<double>(frames.count);
  return verdict;
}

// unsafe: features [T, N, d] -> [T]
std::vector<float> FrameChecker::ScoreByBundle(const Frames& frames, ort::RunControl* control) {
  if (!session_) return {};
  FrameEncoder::Features features = encoder_->Encode(frames, control);
  std::vector<float> scores(static_cast<size_t>(frames.count));
  const ort::NamedTensor in{"features", ort::View(features.values, features.shape)};
  const ort::NamedTensor out{"unsafe", ort::View(scores, {frames.count})};
  session_->Run({&in, 1}, {&out, 1}, control);
  CheckScores(scores, frames.count, "the bundle's");
  return scores;
}

}  // namespace g4v
