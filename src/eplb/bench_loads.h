// Loads for tests and benchmarks: those that the quality figures of docs/eplb.md were made with.
#pragma once

#include <cmath>
#include <cstdint>
#include <random>
#include <vector>

namespace hadal::eplb {

/// exp(torch.randn(rows, columns)) after torch.manual_seed(seed), on a CPU, to float32 rounding:
/// 24-bit uniforms of a Mersenne twister, turned into normals sixteen at a time by Box and Muller.
/// The number of values must be a multiple of 16.
inline std::vector<double> torch_lognormal(uint32_t seed, int rows, int columns) {
  std::mt19937 generator(seed);
  std::vector<float> value(static_cast<size_t>(rows) * columns);
  for (float& v : value) v = static_cast<float>(generator() & 0xffffff) * 0x1p-24f;
  std::vector<double> load(value.size());
  for (size_t block = 0; block + 16 <= value.size(); block += 16) {
    for (size_t i = block; i < block + 8; ++i) {
      const float radius = std::sqrt(-2 * std::log(1 - value[i]));
      const float theta = 2 * 3.14159265358979f * value[i + 8];
      load[i] = std::exp(radius * std::cos(theta));
      load[i + 8] = std::exp(radius * std::sin(theta));
    }
  }
  return load;
}

}  // namespace hadal::eplb
