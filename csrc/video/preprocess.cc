#include "video/preprocess.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "base/error.h"

namespace g4v {

namespace {

constexpr double kMostPixels = 1 << 26;  // of a frame that is resized by its shortest edge

// An edge made even, and at least a pixel.
int EvenEdge(double length) {
  const int edge = static_cast<int>(length);
  return std::max(edge + edge % 2, 1);
}

// The middle of an image, uint8 [size, size, 3], black where the image does not reach. As torchvision's
// center_crop has it: the odd pixel lies before the square where it is cut, and behind it where it is black.
std::vector<uint8_t> CropMiddle(const std::vector<uint8_t>& image, int height, int width,
                                int size) {
  const auto before = [size](int edge) {
    return edge < size ? -((size - edge) / 2) : (edge - size) / 2;
  };
  const int top = before(height), left = before(width);
  const int first = std::max(-left, 0), end = std::min(size, width - left);
  std::vector<uint8_t> square(static_cast<size_t>(size) * static_cast<size_t>(size) * 3);
  for (int row = std::max(-top, 0); row < std::min(size, height - top); ++row) {
    const auto source = (static_cast<ptrdiff_t>(top + row) * width + left + first) * 3;
    const auto target = (static_cast<ptrdiff_t>(row) * size + first) * 3;
    std::copy_n(image.begin() + source, (end - first) * 3, square.begin() + target);
  }
  return square;
}

std::vector<uint8_t> ResizeFrame(const uint8_t* frame, int height, int width,
                                 const FrameFormat& format) {
  if (format.shortest_edge != 0) {
    const int64_t shortest = format.shortest_edge;
    const auto other = [&](int longer, int shorter) {
      const double length = static_cast<double>(shortest * longer) / shorter;
      if (length * static_cast<double>(shortest) > kMostPixels) {
        throw Error(Code::Video, "frames of " + std::to_string(width) + "x" +
                                     std::to_string(height) +
                                     " are too narrow to be resized; crop the video");
      }
      return static_cast<int>(length);
    };
    const int rows = width <= height ? other(height, width) : format.shortest_edge;
    const int columns = width <= height ? format.shortest_edge : other(width, height);
    return CropMiddle(Resize(frame, height, width, rows, columns, format.resampling), rows, columns,
                      format.size);
  }
  if (format.longest_edge == 0) {
    return Resize(frame, height, width, format.size, format.size, format.resampling);
  }
  const int longest = format.longest_edge;
  const double aspect = static_cast<double>(width) / height;
  const int rows = width >= height ? EvenEdge(longest / aspect) : longest;
  const int columns = width >= height ? longest : EvenEdge(longest * aspect);
  const std::vector<uint8_t> first = Resize(frame, height, width, rows, columns, format.resampling);
  return Resize(first.data(), rows, columns, format.size, format.size, format.resampling);
}

}  // namespace

std::vector<float> Preprocess(const uint8_t* frames, int64_t count, int height, int width,
                              const FrameFormat& format) {
  const int size = format.size;
  if (count < 1 || height < 1 || width < 1 || size < 1) {
    throw Error(Code::InvalidArgument, "frames must be [T, H, W, 3] with T, H, W of at least 1");
  }
  // Each channel has only 256 values: normalise once, then look up.
  std::array<std::array<float, 256>, 3> table;
  for (size_t channel = 0; channel < 3; ++channel) {
    if (format.std[channel] == 0.0f) {
      throw Error(Code::InvalidArgument, "a normalisation std is 0");
    }
    for (size_t value = 0; value < 256; ++value) {
      table[channel][value] =
          (static_cast<float>(value) / 255.0f - format.mean[channel]) / format.std[channel];
    }
  }
  const size_t plane = static_cast<size_t>(size) * static_cast<size_t>(size);
  const size_t frame_bytes = static_cast<size_t>(height) * static_cast<size_t>(width) * 3;
  std::vector<float> pixels(static_cast<size_t>(count) * 3 * plane);
  float* out = pixels.data();
  for (int64_t t = 0; t < count; ++t, frames += frame_bytes) {
    const std::vector<uint8_t> image = ResizeFrame(frames, height, width, format);
    for (size_t channel = 0; channel < 3; ++channel) {
      for (size_t i = 0; i < plane; ++i) *out++ = table[channel][image[3 * i + channel]];
    }
  }
  return pixels;
}

std::vector<int64_t> SampleFrames(int64_t count, int samples) {
  if (count < 1) throw Error(Code::Video, "the video has no frames");
  if (samples < 1) {
    throw Error(Code::InvalidArgument,
                "at least 1 frame must be sampled, not " + std::to_string(samples));
  }
  const double step = static_cast<double>(count - 1) / samples;
  const auto first = static_cast<int64_t>(step / 2);
  std::vector<int64_t> indices;
  for (int i = 0; i < samples; ++i) {
    // nearbyint rounds ties to even, as Python's round does.
    const auto index = first + static_cast<int64_t>(std::nearbyint(step * i));
    indices.push_back(std::min(index, count - 1));
  }
  return indices;
}

std::vector<int64_t> FloorFrames(int64_t count, int samples) {
  std::vector<int64_t> indices;
  for (int i = 0; i < samples; ++i) indices.push_back(i * count / samples);
  return indices;
}

std::vector<int64_t> SpreadFrames(int64_t count, int samples) {
  std::vector<int64_t> indices;
  const double step = samples > 1 ? static_cast<double>(count - 1) / (samples - 1) : 0.0;
  for (int i = 0; i < samples; ++i) {
    indices.push_back(i + 1 == samples && i > 0 ? count - 1 : static_cast<int64_t>(i * step));
  }
  return indices;
}

std::vector<int64_t> FramesBySecond(int64_t count, double rate, int most, const BySecond& how) {
  const double duration = static_cast<double>(count) / rate;
  if (how.floor) {
    const double wanted = std::min(duration * how.fps, static_cast<double>(count));
    return FloorFrames(count, std::max(1, std::min(static_cast<int>(wanted), most)));
  }
  int64_t start = 0;
  int64_t end = count - 1;
  // The product is that of SmolVLM2's processor, though it is no time.
  if (how.skip_seconds > 0 && duration - 2 * how.skip_seconds > most * how.fps) {
    start = static_cast<int64_t>(how.skip_seconds * rate);
    end = std::min(static_cast<int64_t>(static_cast<double>(count) - how.skip_seconds * rate),
                   count - 1);
  }
  if (start >= end) {
    start = 0;
    end = count - 1;
  }
  // nearbyint rounds ties to even, as Python's round does.
  const double wanted = std::min(std::nearbyint(how.fps * duration), static_cast<double>(most));
  const int samples = std::max(1, static_cast<int>(wanted));
  const double step = samples > 1 ? static_cast<double>(end - start) / (samples - 1) : 0.0;
  std::vector<int64_t> indices;
  for (int i = 0; i < samples; ++i) {
    const auto index = static_cast<int64_t>(std::floor(i * step + static_cast<double>(start)));
    const int64_t taken = i + 1 == samples && i > 0 ? end : index;
    if (indices.empty() || taken != indices.back()) indices.push_back(taken);
  }
  return indices;
}

}  // namespace g4v
