#include "trace/shape_fit.h"

#include <algorithm>
#include <numeric>
#include <span>

#include "trace/shapes.h"

namespace hadal::trace {
namespace {

constexpr size_t kValuesMax = 16, kWidthsMax = 32;  // 120 * 496 pairs of points at most
constexpr int64_t kMultiple = 64, kLargest = 1 << 24;

/// The number of values whose K is a known width, or -1 where one gives no K at all.
int hits_of(const LinearFit& fit, std::span<const int64_t> values,
            const std::vector<int64_t>& widths) {
  int hits = 0;
  for (const int64_t value : values) {
    const auto k = fit.k(value);
    if (!k) return -1;
    hits += std::ranges::binary_search(widths, *k);
  }
  return hits;
}

bool same(const LinearFit& a, const LinearFit& b, std::span<const int64_t> values) {
  return std::ranges::all_of(values, [&](int64_t v) { return a.k(v) == b.k(v); });
}

}  // namespace

std::optional<int64_t> LinearFit::k(int64_t shared_memory) const {
  const __int128 scaled = static_cast<__int128>(shared_memory - s0) * numerator;
  if (scaled % denominator != 0) return std::nullopt;
  const __int128 k = scaled / denominator + k0;
  if (k <= 0 || k >= kLargest || k % kMultiple != 0) return std::nullopt;
  return static_cast<int64_t>(k);
}

std::optional<LinearFit> fit_shared_memory(const std::vector<int64_t>& values,
                                           const std::vector<int64_t>& widths) {
  if (values.size() < kFitValuesMin) return std::nullopt;
  const auto s = std::span(values).first(std::min(values.size(), kValuesMax));
  const auto d = std::span(widths).first(std::min(widths.size(), kWidthsMax));
  std::optional<LinearFit> best;
  bool ambiguous = false;
  for (size_t i = 0; i < s.size(); ++i) {
    for (size_t j = i + 1; j < s.size(); ++j) {
      for (size_t p = 0; p < d.size(); ++p) {
        for (size_t q = p + 1; q < d.size(); ++q) {
          const int64_t dk = d[q] - d[p], ds = s[j] - s[i], divisor = std::gcd(dk, ds);
          LinearFit fit{s[i], d[p], dk / divisor, ds / divisor, 0};
          fit.hits = hits_of(fit, s, widths);
          if (fit.hits < kFitHitsMin || (best && fit.hits < best->hits)) continue;
          if (best && fit.hits == best->hits) {
            ambiguous = ambiguous || !same(fit, *best, s);
          } else {
            best = fit;
            ambiguous = false;
          }
        }
      }
    }
  }
  return ambiguous ? std::nullopt : best;
}

}  // namespace hadal::trace
