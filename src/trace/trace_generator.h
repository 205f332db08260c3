// Text of a trace like the PyTorch profiler's, of any size: the layout, the mix of events and the
// lengths of names are those of DeepSeek-V3's published training trace (220 bytes an event). For
// tests of the reader only, which must not rest on generate.h.
#pragma once

#include <cstdint>
#include <string>

namespace hadal::trace {

struct GeneratedTrace {
  std::string text;
  uint64_t rows = 0, flows = 0, kernels = 0;
};

class TraceGenerator {
 public:
  explicit TraceGenerator(uint64_t seed) : seed_(seed) {}
  /// A document of about so many bytes; the same for the same seed.
  GeneratedTrace generate(size_t bytes) const;

 private:
  uint64_t seed_;
};

}  // namespace hadal::trace
