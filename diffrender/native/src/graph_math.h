// What the graph kernels share: an exponential that the compiler can do in vector lanes.
#pragma once

#include "common.h"

namespace diffrender {

// exp(x) in float: x = k log 2 + r, a polynomial of r, the exponent put in by its bits. Relative
// error below 2e-7; below -87 it is exp(-87), above 88 exp(88).
inline float exponential(float x) {
  x = x < -87.0f ? -87.0f : (x > 88.0f ? 88.0f : x);
  const float shifted = x * 1.44269504089f + 12582912.0f;  // 1.5 * 2^23 rounds to a whole number
  const float k = shifted - 12582912.0f;
  const float r = (x - k * 0.693359375f) + k * 2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  const int32_t bits = (int32_t(k) + 127) << 23;
  float scale;
  std::memcpy(&scale, &bits, sizeof scale);
  return p * scale;
}
inline double exponential(double x) { return std::exp(x); }

// Tasks of some rows each, so that a small graph does not wake a team.
constexpr int64_t kRowsOfTask = 128;
inline int64_t tasks(int64_t rows) { return (rows + kRowsOfTask - 1) / kRowsOfTask; }

}  // namespace diffrender
