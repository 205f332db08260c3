// Expert loads from the files that serving stacks leave behind.
//
// The format is told by the content, never by the file's name:
//
//   vector         {"weight": [layers][experts], "num_replicas": 288, "num_groups": 8, ...}
//   load_history   {"load_history": [{"logical_expert_load": [layers][experts]}, ...]}     (vLLM)
//   logical_count  {"logical_count": [layers][experts]} or [steps][layers][experts]        (SGLang)
//   array          [[...], ...] or [[[...], ...], ...]
//   csv            a row per layer, numbers separated by commas; a blank line starts the next
//   window;
//                  a first line of names and # comments are skipped
//   npy            NumPy versions 1 to 3: integers, floats of 2, 4 and 8 bytes, booleans; either
//   byte
//                  order, C or Fortran order
//
// Everywhere 2 dimensions are [layers][experts] and 3 are [windows][layers][experts], where a
// window is one snapshot of the counters. The four shape numbers are taken from any JSON object
// that has them. Loads are doubles: integers above 2^53 are rounded to nearest.
//
// Invariants of a LoadInput: every extent is at least 1, load.size() is their product, every load
// is finite and >= 0.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace hadal::eplb {

struct LoadInput {
  int num_windows = 0;
  int num_layers = 0;
  int num_experts = 0;
  std::vector<double> load;  // [windows][layers][experts]

  // As the file gives them, and not checked beyond being in 1 .. 2^31-1.
  std::optional<int> num_replicas, num_groups, num_nodes, num_gpus;

  std::string format;  // "vector", "load_history", "logical_count", "array", "csv", "npy"
};

inline constexpr size_t kLoadFileBytesMax = size_t{1} << 30;

/// Loads from the bytes of a file. Every error is kInvalidArgument (kNoSpace if memory runs out)
/// and names the field and the position. `bytes` is moved from where that saves a copy.
Result<LoadInput> parse_loads(std::string bytes);

/// The same from a file, or from standard input for "-"; errors begin with the file's name.
Result<LoadInput> read_loads(const std::string& path, size_t bytes_max = kLoadFileBytesMax);

/// Windows first .. last-1 of an input.
struct WindowRange {
  int first = 0;
  int last = 0;
};

/// The range that `text` names among `num_windows` >= 1 windows: "A:B" is A .. B-1, with A or B
/// left out for the first and the last window; "A" is that window alone; "" is all of them.
/// Negative numbers count from the end, as in Python.
Result<WindowRange> parse_window_range(std::string_view text, int num_windows);

/// [layers][experts]: the loads of the windows of `range` added up. kInvalidArgument if a sum is
/// not finite.
Result<std::vector<double>> sum_windows(const LoadInput& input, WindowRange range);

}  // namespace hadal::eplb
