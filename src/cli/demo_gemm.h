// The part of `hadal demo` that multiplies: a small network that learns to guess the next character
// of a text, evaluated in FP8 and in double precision.
//
// It is the network of Bengio et al. ("A Neural Probabilistic Language Model", 2003), over
// characters: eight of them, embedded in 16 numbers each, make 128 inputs; 256 hidden units with
// SiLU; 96 outputs, one per printable character and one for the rest. It learns by plain stochastic
// gradient descent, in float32, from the first nine tenths of the text, and is asked about the
// last.
//
// In FP8 two calls of hadal::gemm are all of it: inputs have a scale per 1x128, weights per
// 128x128; the first product adds the bias, applies SiLU and quantizes its own output, which the
// second reads.
#pragma once

#include <string>
#include <string_view>

#include "base/error.h"

namespace hadal::cli {

struct DemoGemmResult {
  std::string on, result;
  bool check = false;
};

/// Trains and evaluates. The same text gives the same network on every machine with the same
/// libm. `text` has 512 bytes or more.
Result<DemoGemmResult> guess_characters(std::string_view text);

}  // namespace hadal::cli
