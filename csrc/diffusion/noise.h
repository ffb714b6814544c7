// The noise that a video starts from, and what samplers add at their steps.
#pragma once

#include <cstdint>
#include <span>

namespace g4v {

// Fills `values` with standard normal numbers that depend on `seed` alone, bit for bit the same on
// every machine: Philox4x32-10 under the key `seed`, one block with the counter (i, stream) for
// values 2i and 2i + 1, Box-Muller in float64 with functions made of IEEE operations only, rounded
// to float32. Streams of a seed are independent; a video starts from 0, step k adds k + 1,
// and the latents of a video that it is made from are drawn by the last one (diffusion/vae.h).
void FillNoise(uint64_t seed, std::span<float> values, uint64_t stream = 0);

// Noise of a video's latents [channels, frames, area], of unit variance. `shared` of the
// variance, 0 to 1, is common to all frames (the mixed noise of Ge et al., 2023): the frames' own
// noise is FillNoise's first values, the common one [channels, area] the values after them.
void FillVideoNoise(uint64_t seed, double shared, int64_t channels, int64_t frames, int64_t area,
                    std::span<float> latents, uint64_t stream = 0);

namespace internal {

double Log(double x);                                              // x > 0, normal
void SinCosTurns(double turns, double& sin_out, double& cos_out);  // of 2 pi turns, 0 <= turns <= 1

}  // namespace internal
}  // namespace g4v
