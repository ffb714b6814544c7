// The vector kernels, compiled for each instruction set, the formula as it reads, and the choice
// among them.
#include "kernels/cpu/convolution/winograd.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <new>

#include "kernels/cpu/convolution/winograd_tiles.h"

#define G4V_KERNEL_FILE "kernels/cpu/convolution/winograd_simd.h"
#include "kernels/cpu/simd/for_each_target.h"

namespace g4v::kernels {

using namespace winograd;

// The specification that the vector kernels are tested against: the sum in double precision. Its
// weights are those of the formula, and its blocks are the same tiles.
namespace plain {

double At(const ConvolutionParams& p, const ChannelNorm* norms, const WinogradWeight& w,
          int64_t image, int64_t o, int64_t y, int64_t x) {
  double sum = w.bias()[o];
  for (int64_t c = 0; c < w.channels(); ++c) {
    const float* const plane = p.x + (image * w.channels() + c) * p.height * p.width;
    const int64_t width = w.filter_width();
    const float* const filter = w.data() + (o * w.channels() + c) * 3 * width;
    for (int64_t i = 0; i < 3; ++i) {
      for (int64_t j = 0; j < width; ++j) {
        const int64_t row = y + i - 1;
        const int64_t column = x + j - width / 2;
        if (row < 0 || row >= p.height || column < 0 || column >= p.width) continue;
        double value = plane[row * p.width + column];
        if (norms) {
          const ChannelNorm& norm = norms[image * w.channels() + c];
          const double z = (value - norm.mean) * norm.factor + norm.shift;
          value = z / (1.0 + std::exp(-z));
        }
        sum += filter[i * width + j] * value;
      }
    }
  }
  return sum;
}

void WinogradBlocks(const ConvolutionParams& p, const ChannelNorm* norms, const WinogradWeight& w,
                    int64_t first, int64_t last, float*) {
  const TileGrid grid(p, w.filter_width());
  const int64_t tile_width = w.filter_width() == 1 ? 1 : kTile;
  const int64_t end = std::min(last * kBlock, grid.count);
  for (int64_t tile = first * kBlock; tile < end; ++tile) {
    const int64_t left = tile % grid.columns * tile_width;
    const int64_t top = tile / grid.columns % grid.rows * kTile;
    const int64_t image = tile / grid.columns / grid.rows;
    for (int64_t o = 0; o < w.out_channels(); ++o) {
      float* const plane = p.out + (image * w.out_channels() + o) * p.height * p.width;
      for (int64_t y = top; y < std::min(top + kTile, p.height); ++y) {
        for (int64_t x = left; x < std::min(left + tile_width, p.width); ++x) {
          plane[y * p.width + x] = static_cast<float>(At(p, norms, w, image, o, y, x));
        }
      }
    }
  }
}

void MeanAndVariance(const float* x, int64_t count, double* mean, double* variance) {
  double sum = 0.0;
  for (int64_t i = 0; i < count; ++i) sum += x[i];
  *mean = sum / static_cast<double>(count);
  double squares = 0.0;
  for (int64_t i = 0; i < count; ++i) squares += (x[i] - *mean) * (x[i] - *mean);
  *variance = squares / static_cast<double>(count);
}

int64_t WinogradRows() { return 0; }  // not transformed

}  // namespace plain

namespace {

constexpr size_t kAlignment = 64;

size_t AlignedBytes(int64_t floats) {
  constexpr int64_t kFloats = kAlignment / sizeof(float);
  return static_cast<size_t>(DivideUp(floats, kFloats)) * kAlignment;
}

float* Allocate(int64_t floats) {
  void* const memory = std::aligned_alloc(kAlignment, AlignedBytes(floats));
  if (!memory) throw std::bad_alloc();
  return static_cast<float*>(memory);
}

// G w G' of one filter of 3x3, or G w of one of 3x1, in double precision: Products(width) values.
void TransformFilter(const float* filter, int64_t width, double* to) {
  constexpr double kG[kSide][3] = {{1.0 / 4, 0, 0},
                                   {-1.0 / 6, -1.0 / 6, -1.0 / 6},
                                   {-1.0 / 6, 1.0 / 6, -1.0 / 6},
                                   {1.0 / 24, 1.0 / 12, 1.0 / 6},
                                   {1.0 / 24, -1.0 / 12, 1.0 / 6},
                                   {0, 0, 1}};
  double half[kSide][3];
  for (int64_t i = 0; i < kSide; ++i) {
    for (int64_t j = 0; j < width; ++j) {
      half[i][j] =
          kG[i][0] * filter[j] + kG[i][1] * filter[width + j] + kG[i][2] * filter[2 * width + j];
    }
    if (width == 1) to[i] = half[i][0];
  }
  if (width == 1) return;
  for (int64_t i = 0; i < kSide; ++i) {
    for (int64_t j = 0; j < kSide; ++j) {
      to[i * kSide + j] = half[i][0] * kG[j][0] + half[i][1] * kG[j][1] + half[i][2] * kG[j][2];
    }
  }
}

// Runs work(range) for `ranges` ranges.
template <class Work>
void ForRanges(int64_t ranges, Parallel& parallel, const Work& work) {
  if (ranges == 1) return work(0);
  const auto task = [](void* context, int64_t index) {
    (*static_cast<const Work*>(context))(index);
  };
  parallel.Run(ranges, task, const_cast<Work*>(&work));
}

}  // namespace

void WinogradWeight::Free::operator()(float* memory) const { std::free(memory); }

WinogradWeight::WinogradWeight(const float* weight, const float* bias, int64_t out_channels,
                               int64_t channels, int64_t filter_width, Parallel& parallel, Isa isa)
    : out_channels_(out_channels), channels_(channels), filter_width_(filter_width), isa_(isa) {
  const int64_t rows = G4V_DISPATCH(isa, WinogradRows)();
  const int64_t padded = Padded(out_channels);
  const int64_t products = Products(filter_width);
  const int64_t taps = 3 * filter_width;
  const int64_t size = rows ? products * padded * channels : out_channels * channels * taps;
  data_.reset(Allocate(size + out_channels));
  float* const data = data_.get();
  std::copy_n(bias, out_channels, data + size);
  bias_ = data + size;
  if (!rows) {
    std::copy_n(weight, size, data);
    return;
  }
  // [product][group of out channels][channel][out channel of the group]
  const auto transform = [=](int64_t group) {
    for (int64_t c = 0; c < channels; ++c) {
      for (int64_t r = 0; r < rows; ++r) {
        const int64_t o = group * rows + r;
        double found[kProducts] = {};
        if (o < out_channels) {
          TransformFilter(weight + (o * channels + c) * taps, filter_width, found);
        }
        float* const to = data + (group * channels + c) * rows + r;
        for (int64_t i = 0; i < products; ++i) {
          to[i * padded * channels] = static_cast<float>(found[i]);
        }
      }
    }
  };
  ForRanges(padded / rows, parallel, transform);
}

namespace {

int64_t Blocks(const ConvolutionParams& p, const WinogradWeight& w) {
  return TileGrid(p, w.filter_width()).blocks();
}

int64_t Ranges(const ConvolutionParams& p, const WinogradWeight& w, int threads) {
  return std::min<int64_t>(threads, Blocks(p, w));
}

size_t NormBytes(const ConvolutionParams& p, const WinogradWeight& w) {
  constexpr int64_t kFloats = sizeof(ChannelNorm) / sizeof(float);
  return p.norm ? AlignedBytes(p.batch * w.channels() * kFloats) : 0;
}

size_t ScratchBytes(const WinogradWeight& w) {
  if (w.isa() == Isa::kPlain) return 0;
  return AlignedBytes(ScratchFloats(w));
}

// What each channel of each image is normalised with.
void FindNorms(const ConvolutionParams& p, const WinogradWeight& w, ChannelNorm* norms,
               Parallel& parallel) {
  const GroupNormParams& norm = *p.norm;
  const int64_t channels = w.channels() / norm.groups;
  const int64_t count = channels * p.height * p.width;
  const auto find = G4V_DISPATCH(w.isa(), MeanAndVariance);
  ForRanges(p.batch * norm.groups, parallel, [&](int64_t group) {
    double mean = 0.0;
    double variance = 0.0;
    find(p.x + group * count, count, &mean, &variance);
    const double factor = 1.0 / std::sqrt(variance + norm.epsilon);
    for (int64_t c = 0; c < channels; ++c) {
      const int64_t channel = group % norm.groups * channels + c;
      norms[group * channels + c] = {static_cast<float>(mean),
                                     static_cast<float>(factor * norm.scale[channel]),
                                     norm.shift[channel]};
    }
  });
}

}  // namespace

size_t WinogradWorkspaceSize(const ConvolutionParams& params, const WinogradWeight& weight,
                             int threads) {
  return NormBytes(params, weight) +
         ScratchBytes(weight) * static_cast<size_t>(Ranges(params, weight, threads));
}

void WinogradConvolution(const ConvolutionParams& params, const WinogradWeight& weight,
                         void* workspace, Parallel& parallel) {
  const int64_t blocks = Blocks(params, weight);
  const int64_t ranges = Ranges(params, weight, parallel.threads());
  if (ranges == 0) return;
  auto* scratch = static_cast<char*>(workspace);
  ChannelNorm* norms = nullptr;
  if (params.norm) {
    norms = reinterpret_cast<ChannelNorm*>(scratch);
    scratch += NormBytes(params, weight);
    FindNorms(params, weight, norms, parallel);
  }
  const size_t bytes = ScratchBytes(weight);
  const auto run = G4V_DISPATCH(weight.isa(), WinogradBlocks);
  ForRanges(ranges, parallel, [&](int64_t range) {
    run(params, norms, weight, blocks * range / ranges, blocks * (range + 1) / ranges,
        reinterpret_cast<float*>(scratch + static_cast<size_t>(range) * bytes));
  });
}

}  // namespace g4v::kernels
