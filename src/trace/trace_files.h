// Where tests find the real trace. For tests and benchmarks only.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <string>

namespace hadal::trace {

/// The trace of DeepSeek-V3's training step; empty where this machine does not have it. It lies in
/// shared/ beside the checkout, or in $HADAL_SHARED.
inline std::string train_json() {
  const char* shared = std::getenv("HADAL_SHARED");
  std::string path = shared != nullptr ? shared : HADAL_SOURCE_DIR "/../shared";
  path += "/data/trace/train.json";
  return std::filesystem::exists(path) ? path : std::string();
}

}  // namespace hadal::trace
