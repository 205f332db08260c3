// DeepSeek's published training trace, for tests; absent in a bare checkout.
#pragma once

#include <cstdlib>
#include <optional>
#include <string>

#include "base/error.h"
#include "trace/activity.h"
#include "trace/rules.h"
#include "trace/trace.h"

namespace hadal::trace {

class Train {
 public:
  Train() : trace_(load(path())) {
    if (trace_) view_ = gpu_view(*trace_, Rules());
  }
  Train(const Train&) = delete;
  Train& operator=(const Train&) = delete;

  /// False: skip the test, with why().
  bool ok() const { return trace_.has_value(); }
  std::string why() const { return trace_ ? "" : trace_.error().message; }
  const GpuView& view() const { return *view_; }
  /// HADAL_TRAIN_JSON, or where the data of this project lie beside it.
  static std::string path() {
    const char* elsewhere = std::getenv("HADAL_TRAIN_JSON");
    return elsewhere ? elsewhere : HADAL_SOURCE_DIR "/../shared/data/trace/train.json";
  }

 private:
  Result<Trace> trace_;
  std::optional<GpuView> view_;
};

}  // namespace hadal::trace
