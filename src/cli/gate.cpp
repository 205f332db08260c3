#include "cli/gate.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "base/check.h"
#include "base/profiler.h"
#include "base/rng.h"

namespace hadal::cli {
namespace {

constexpr int kWidth = 32;    // of the hidden state
constexpr int kContext = 4;   // bytes that a token sees
constexpr int kGroupTop = 2;  // scores of a group that count

using Vector = std::array<float, kWidth>;

class Gate {
 public:
  explicit Gate(const GateShape& shape) : shape_(shape) {
    Rng rng(2412'19437);
    for (auto& table : embedding_) {
      for (Vector& v : table) fill(v, rng, 1.0f);
    }
    mix_.resize(shape.layers);
    expert_.resize(shape.layers);
    for (int layer = 0; layer < shape.layers; ++layer) {
      for (Vector& row : mix_[layer]) fill(row, rng, 1.0f / std::sqrt(static_cast<float>(kWidth)));
      expert_[layer].resize(shape.experts);
      for (Vector& v : expert_[layer]) fill(v, rng, 1.0f);
    }
  }

  // Adds the choices of tokens [begin, end) to counts [layers][experts].
  void route(std::string_view text, int64_t begin, int64_t end,
             std::vector<uint32_t>& counts) const {
    std::vector<float> score(shape_.experts);
    std::vector<int> order(shape_.experts);
    for (int64_t t = begin; t < end; ++t) {
      Vector state{};
      for (int back = 0; back < kContext; ++back) {
        const auto byte = t >= back ? static_cast<unsigned char>(text[t - back]) : 0;
        for (int i = 0; i < kWidth; ++i) state[i] += embedding_[back][byte][i] / (1.0f + back);
      }
      for (int layer = 0; layer < shape_.layers; ++layer) {
        state = advance(state, layer);
        for (int e = 0; e < shape_.experts; ++e) score[e] = dot(state, expert_[layer][e]);
        choose(score, order);
        uint32_t* row = counts.data() + static_cast<size_t>(layer) * shape_.experts;
        for (int k = 0; k < shape_.topk; ++k) ++row[order[k]];
      }
    }
  }

 private:
  static void fill(Vector& v, Rng& rng, float scale) {
    for (float& x : v) x = scale * static_cast<float>(rng.normal());
  }
  static float dot(const Vector& a, const Vector& b) {
    // Four sums, so that the compiler may keep them in one vector register.
    std::array<float, 4> sum{};
    for (int i = 0; i < kWidth; i += 4) {
      for (int j = 0; j < 4; ++j) sum[j] += a[i + j] * b[i + j];
    }
    return (sum[0] + sum[2]) + (sum[1] + sum[3]);
  }

  // A residual layer with a bounded activation.
  Vector advance(const Vector& state, int layer) const {
    Vector next = state;
    for (int i = 0; i < kWidth; ++i) {
      const float x = dot(mix_[layer][i], state);
      next[i] += x / (1.0f + std::abs(x));
    }
    return next;
  }

  // The first topk entries of `order` become the chosen experts.
  void choose(const std::vector<float>& score, std::vector<int>& order) const {
    const int size = shape_.experts / shape_.groups;
    std::array<std::pair<float, int>, 64> group;
    CHECK(shape_.groups <= static_cast<int>(group.size()));
    for (int g = 0; g < shape_.groups; ++g) {
      float first = -INFINITY, second = -INFINITY;
      static_assert(kGroupTop == 2);
      for (int e = g * size; e < (g + 1) * size; ++e) {
        second = std::max(second, std::min(first, score[e]));
        first = std::max(first, score[e]);
      }
      group[g] = {-(first + second), g};
    }
    std::sort(group.begin(), group.begin() + shape_.groups);
    int candidates = 0;
    for (int k = 0; k < shape_.groups_chosen; ++k) {
      for (int i = 0; i < size; ++i) order[candidates++] = group[k].second * size + i;
    }
    std::partial_sort(
        order.begin(), order.begin() + shape_.topk, order.begin() + candidates,
        [&](int a, int b) { return score[a] != score[b] ? score[a] > score[b] : a < b; });
  }

  GateShape shape_;
  std::array<std::array<Vector, 256>, kContext> embedding_;
  std::vector<std::array<Vector, kWidth>> mix_;
  std::vector<std::vector<Vector>> expert_;
};

}  // namespace

std::vector<double> route_text(std::string_view text, const GateShape& shape, int64_t tokens_max,
                               ThreadPool& pool) {
  const Gate gate(shape);
  const int64_t tokens = std::min<int64_t>(static_cast<int64_t>(text.size()), tokens_max);
  const size_t table = static_cast<size_t>(shape.layers) * shape.experts;
  std::vector<double> loads(table * shape.windows, 0);
  std::vector<std::vector<uint32_t>> counts(pool.size());
  for (int window = 0; window < shape.windows; ++window) {
    const int64_t first = tokens * window / shape.windows;
    const int64_t last = tokens * (window + 1) / shape.windows;
    for (auto& c : counts) c.assign(table, 0);
    pool.parallel_for_dynamic(last - first, 64, [&](int64_t begin, int64_t end, int worker) {
      gate.route(text, first + begin, first + end, counts[worker]);
    });
    for (const auto& c : counts) {
      for (size_t i = 0; i < table; ++i) loads[window * table + i] += c[i];
    }
  }
  return loads;
}

}  // namespace hadal::cli
