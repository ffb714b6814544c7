// Frames and their resizing (video/). Pixels are those of the same filter in double precision but
// for rounding, and the frames that are sampled are those of the formula.
#include <algorithm>
#include <cmath>
#include <vector>

#include "fuzz.h"
#include "plain_resize.h"
#include "video/frames.h"
#include "video/preprocess.h"

using namespace g4v;
using fuzz::Require;

namespace {

struct Size {
  int height, width;
};

// A row or a column of one channel, as numbers.
double Largest(const std::vector<uint8_t>& image, Size in, const std::vector<uint8_t>& found,
               Size out) {
  double worst = 0;
  for (size_t channel = 0; channel < 3; ++channel) {
    for (int y = 0; y < out.height; ++y) {
      // Of images that change along one axis alone, so that the rounding between the passes has no
      // part in it.
      std::vector<double> line;
      const bool rows = in.height == out.height;
      for (int i = 0; i < (rows ? in.width : in.height); ++i) {
        const int row = rows ? y : i, column = rows ? i : 0;
        line.push_back(image[(static_cast<size_t>(row) * static_cast<size_t>(in.width) +
                              static_cast<size_t>(column)) *
                                 3 +
                             channel]);
      }
      const auto wanted = fuzz::Line(line, static_cast<size_t>(rows ? out.width : out.height));
      const size_t first = static_cast<size_t>(rows ? y : 0) * static_cast<size_t>(out.width);
      for (size_t i = 0; i < wanted.size(); ++i) {
        const size_t at = rows ? first + i : i * static_cast<size_t>(out.width);
        worst = std::max(worst, std::fabs(wanted[i] - found[at * 3 + channel]));
      }
      if (!rows) break;
    }
  }
  return worst;
}

void CheckSampling(fuzz::Input& input) {
  const int64_t count =
      input.Coin() ? input.From(-1, 300) : input.Take<int64_t>() % (int64_t{1} << 40);
  const int samples = static_cast<int>(input.From(-1, 100));
  std::vector<int64_t> indices;
  if (!fuzz::Accepts({Code::Video, Code::InvalidArgument},
                     [&] { indices = SampleFrames(count, samples); })) {
    Require(count < 1 || samples < 1, "frames that are there can be sampled");
    return;
  }
  Require(static_cast<int>(indices.size()) == samples, "as many frames as were asked for");
  Require(std::is_sorted(indices.begin(), indices.end()), "frames are in order");
  Require(indices.front() >= 0 && indices.back() < count, "frames are of the video");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  fuzz::Input input(data, size);
  CheckSampling(input);
  Size in{static_cast<int>(input.From(0, 40)), static_cast<int>(input.From(0, 40))};
  Size out{static_cast<int>(input.From(0, 40)), static_cast<int>(input.From(0, 40))};
  const int shape = static_cast<int>(input.From(0, 2));
  if (shape == 1) out.height = in.height;
  if (shape == 2) out.width = in.width;
  std::vector<uint8_t> image(static_cast<size_t>(in.height) * static_cast<size_t>(in.width) * 3);
  const std::string_view pixels = input.Rest();
  for (size_t i = 0; i < image.size() && !pixels.empty(); ++i)
    image[i] = static_cast<uint8_t>(pixels[i % pixels.size()]);
  const FramesView view{image.data(), 1, in.height, in.width};
  if (!fuzz::Accepts({Code::InvalidArgument}, [&] { CheckVideo(view); })) return 0;
  const int64_t again[] = {0, 0};
  const Frames copy = CopyFrames(view, again);
  Require(std::equal(image.begin(), image.end(),
                     copy.pixels->end() - static_cast<std::ptrdiff_t>(image.size())),
          "a copy is equal");
  std::vector<uint8_t> found;
  if (!fuzz::Accepts({Code::InvalidArgument}, [&] {
        found = Resize(image.data(), in.height, in.width, out.height, out.width);
      })) {
    return 0;
  }
  Require(found.size() == static_cast<size_t>(out.height) * static_cast<size_t>(out.width) * 3,
          "an image has its size");
  if (in.height == out.height || in.width == out.width) {
    Require(Largest(image, in, found, out) <= 0.501, "pixels are those of the filter");
  }
  const auto [least, most] = std::minmax_element(image.begin(), image.end());
  if (*least == *most)
    Require(
        std::count(found.begin(), found.end(), *least) == static_cast<std::ptrdiff_t>(found.size()),
        "one colour stays");
  const std::array<float, 3> mean{0.1f, 0.2f, 0.3f}, std{0.5f, 1.0f, 2.0f};
  const FrameFormat format{out.width, mean, std};
  const auto values = Preprocess(image.data(), 1, in.height, in.width, format);
  for (const float value : values)
    Require(value >= -0.61f && value <= 1.81f, "a value is that of a byte");
  return 0;
}
