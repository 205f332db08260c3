#include "cli/demo_gemm.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <memory>
#include <vector>

#include <fmt/core.h>

#include "base/rng.h"
#include "gemm/check.h"
#include "gemm/gemm.h"

namespace hadal::cli {
namespace {

constexpr int kContext = 8, kEmbedding = 16, kInputs = kContext * kEmbedding;
constexpr int kHidden = 256, kClasses = 96;
constexpr int kSteps = 24'000, kQuestions = 2048;
constexpr float kRateFirst = 0.06f, kRateLast = 0.006f;

int class_of(char c) {
  return c >= 32 && c < 127 ? c - 32 : kClasses - 1;
}

float silu(float x) {
  return x / (1 + std::exp(-x));
}

/// y += a * x: what the compiler makes vectors of.
template <size_t N>
void add(std::array<float, N>& y, float a, const std::array<float, N>& x) {
  for (size_t i = 0; i < N; ++i) y[i] += a * x[i];
}

template <size_t N>
float dot(const std::array<float, N>& x, const std::array<float, N>& y) {
  std::array<float, 8> sums = {};
  static_assert(N % sums.size() == 0);
  for (size_t i = 0; i < N; i += sums.size()) {
    for (size_t j = 0; j < sums.size(); ++j) sums[j] += x[i + j] * y[i + j];
  }
  float total = 0;
  for (const float sum : sums) total += sum;
  return total;
}

using Inputs = std::array<float, kInputs>;
using Hidden = std::array<float, kHidden>;
using Scores = std::array<float, kClasses>;

struct Network {
  std::array<std::array<float, kEmbedding>, kClasses> embedding;
  std::array<Hidden, kInputs> first;   // by input, then hidden unit
  std::array<Scores, kHidden> second;  // by hidden unit, then class
  Hidden first_bias = {};
  Scores second_bias = {};

  explicit Network(Rng& rng) {
    const auto fill = [&rng](auto& rows, double deviation) {
      for (auto& row : rows) {
        for (float& x : row) x = static_cast<float>(deviation * rng.normal());
      }
    };
    fill(embedding, 1);
    fill(first, 1 / std::sqrt(kInputs));
    fill(second, 1 / std::sqrt(kHidden));
  }

  /// The embedded characters in front of `at`.
  void read(std::string_view text, size_t at, float* x) const {
    for (int i = 0; i < kContext; ++i) {
      const auto& row = embedding[class_of(text[at - kContext + i])];
      std::copy(row.begin(), row.end(), x + static_cast<ptrdiff_t>(i) * kEmbedding);
    }
  }

  void learn(std::string_view text, size_t at, float rate);
};

// One step of gradient descent on the cross entropy of one character.
void Network::learn(std::string_view text, size_t at, float rate) {
  Inputs x;
  read(text, at, x.data());
  Hidden sums = first_bias, hidden;
  for (int i = 0; i < kInputs; ++i) add(sums, x[i], first[i]);
  std::transform(sums.begin(), sums.end(), hidden.begin(), silu);
  Scores scores = second_bias;
  for (int j = 0; j < kHidden; ++j) add(scores, hidden[j], second[j]);

  const float highest = *std::max_element(scores.begin(), scores.end());
  float total = 0;
  for (float& s : scores) total += s = std::exp(s - highest);
  for (float& s : scores) s /= total;
  scores[class_of(text[at])] -= 1;  // now the gradient

  Hidden back;
  for (int j = 0; j < kHidden; ++j) {
    const float sigmoid = 1 / (1 + std::exp(-sums[j]));
    back[j] = dot(second[j], scores) * sigmoid * (1 + sums[j] * (1 - sigmoid));
    add(second[j], -rate * hidden[j], scores);
  }
  add(second_bias, -rate, scores);
  for (int i = 0; i < kInputs; ++i) {
    float& number = embedding[class_of(text[at - kContext + i / kEmbedding])][i % kEmbedding];
    number -= rate * dot(first[i], back);
    add(first[i], -rate * x[i], back);
  }
  add(first_bias, -rate, back);
}

/// The questions [kQuestions][kInputs] and the weights as hadal::gemm wants them.
struct Matrices {
  int64_t rows = 0;
  std::vector<float> x, first, second;  // [rows][kInputs], [kHidden][kInputs], [kClasses][kHidden]
  std::vector<int> answers;

  Matrices(const Network& net, std::string_view text, size_t begin)
      : first(size_t{kHidden} * kInputs), second(size_t{kClasses} * kHidden) {
    rows = std::min<int64_t>(kQuestions, static_cast<int64_t>(text.size() - begin));
    x.resize(rows * kInputs);
    for (int64_t i = 0; i < rows; ++i) {
      const size_t at = begin + i * (text.size() - begin) / rows;
      net.read(text, at, x.data() + i * kInputs);
      answers.push_back(class_of(text[at]));
    }
    for (int j = 0; j < kHidden; ++j) {
      for (int i = 0; i < kInputs; ++i) first[j * kInputs + i] = net.first[i][j];
    }
    for (int c = 0; c < kClasses; ++c) {
      for (int j = 0; j < kHidden; ++j) second[c * kHidden + j] = net.second[j][c];
    }
  }
};

/// Scores [rows][kClasses] in double precision.
std::vector<double> in_double(const Network& net, const Matrices& m) {
  std::vector<double> out(m.rows * kClasses);
  std::array<double, kHidden> hidden;
  for (int64_t row = 0; row < m.rows; ++row) {
    for (int j = 0; j < kHidden; ++j) {
      double sum = net.first_bias[j];
      for (int i = 0; i < kInputs; ++i) {
        sum += double{m.first[j * kInputs + i]} * m.x[row * kInputs + i];
      }
      hidden[j] = sum / (1 + std::exp(-sum));
    }
    for (int c = 0; c < kClasses; ++c) {
      double sum = net.second_bias[c];
      for (int j = 0; j < kHidden; ++j) sum += double{m.second[c * kHidden + j]} * hidden[j];
      out[row * kClasses + c] = sum;
    }
  }
  return out;
}

Result<> run(const gemm::Context& context, const gemm::GemmSpec& spec, gemm::GemmArgs args) {
  const gemm::Plan plan = TRY(context.plan(spec));
  gemm::AlignedBytes workspace(plan.workspace_bytes());
  args.workspace = workspace.span();
  return plan.run(args);
}

/// The same in FP8. Hidden units leave the first product as codes with fresh scales.
Result<std::vector<float>> in_fp8(const Network& net, const Matrices& m) {
  const auto quantized = [](const std::vector<float>& x, int64_t columns, BlockShape block) {
    const int64_t rows = static_cast<int64_t>(x.size()) / columns;
    return quantize(View<const float, 2>(x.data(), {rows, columns}), block);
  };
  const Quantized x = TRY(quantized(m.x, kInputs, kPer1x128));
  const Quantized first = TRY(quantized(m.first, kInputs, kPer128x128));
  const Quantized second = TRY(quantized(m.second, kHidden, kPer128x128));
  const gemm::Context context = TRY(gemm::Context::cpu());

  std::vector<E4m3> hidden(m.rows * kHidden);
  std::vector<float> scales(m.rows * kHidden / kPer1x128.cols);
  gemm::GemmSpec spec{.m = m.rows, .n = kHidden, .k = kInputs};
  spec.d = {.type = DType::kE4m3, .activation = gemm::Activation::kSilu, .bias = true};
  TRY(run(context, spec,
          {.a = x.codes.data(),
           .a_scale = x.scales.data(),
           .b = first.codes.data(),
           .b_scale = first.scales.data(),
           .bias = net.first_bias.data(),
           .d = hidden.data(),
           .d_scale = scales.data()}));

  std::vector<float> out(m.rows * kClasses);
  spec = {.m = m.rows, .n = kClasses, .k = kHidden};
  spec.d = {.type = DType::kF32, .bias = true};
  TRY(run(context, spec,
          {.a = hidden.data(),
           .a_scale = scales.data(),
           .b = second.codes.data(),
           .b_scale = second.scales.data(),
           .bias = net.second_bias.data(),
           .d = out.data()}));
  return out;
}

template <typename T>
int right_answers(const std::vector<T>& scores, const std::vector<int>& answers) {
  int right = 0;
  for (size_t i = 0; i < answers.size(); ++i) {
    const auto row = scores.begin() + static_cast<ptrdiff_t>(i * kClasses);
    right += std::max_element(row, row + kClasses) - row == answers[i];
  }
  return right;
}

}  // namespace

Result<DemoGemmResult> guess_characters(std::string_view text) {
  const size_t known = text.size() / 10 * 9;
  Rng rng(1);
  const auto net = std::make_unique<Network>(rng);
  for (int step = 0; step < kSteps; ++step) {
    const float done = static_cast<float>(step) / kSteps;
    const float rate = kRateFirst * std::pow(kRateLast / kRateFirst, done);
    net->learn(text, kContext + rng.below(known - kContext), rate);
  }
  const Matrices m(*net, text, known);
  const std::vector<double> exact = in_double(*net, m);
  const std::vector<float> fp8 = TRY(in_fp8(*net, m));

  double differences = 0, squares = 0, worst = 0, largest = 0;
  for (size_t i = 0; i < exact.size(); ++i) {
    const double difference = fp8[i] - exact[i];
    differences += difference * difference;
    squares += exact[i] * exact[i] + double{fp8[i]} * fp8[i];
    worst = std::max(worst, std::abs(difference));
    largest = std::max(largest, std::abs(exact[i]));
  }
  const double calc_diff = differences / squares;  // as tensor/compare.h defines it
  const double percent = 100.0 / static_cast<double>(m.rows);
  return DemoGemmResult{
      .on = fmt::format("{} guesses, {}-{}-{} network", m.rows, kInputs, kHidden, kClasses),
      .result =
          fmt::format("{:.1f} % right, in double {:.1f} %; calc_diff {:.1e}, worst {:.1f} %",
                      right_answers(fp8, m.answers) * percent,
                      right_answers(exact, m.answers) * percent, calc_diff, 100 * worst / largest),
      .check = calc_diff < 2e-3};
}

}  // namespace hadal::cli
