// Rotary position embedding of a head, with its first half paired with its second:
//
//   (x_i, x_{i + n})  ->  (x_i c_i - x_{i + n} s_i, x_{i + n} c_i + x_i s_i),   i < n = head_dim / 2
//   c_i = factor cos(position f_i),   s_i = factor sin(position f_i)
//
// The frequencies f and the factor hold whatever scaling the model has.
#pragma once

#include <cstdint>

namespace g4v::kernels {

// c and s [half] of a position. The angle is rounded to float32, as PyTorch has it.
void RotaryAngles(int64_t position, const float* frequencies, float factor, int64_t half,
                  float* cosines, float* sines);

// Rotates a head [2 half] in place.
void Rotate(const float* cosines, const float* sines, int64_t half, float* head);

}  // namespace g4v::kernels
