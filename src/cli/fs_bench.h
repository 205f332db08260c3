// What a disk can do, to hold a store against: measured by fio, or by us where it is missing.
#pragma once

#include <cstdint>
#include <string>

#include "base/error.h"

namespace hadal::cli {

struct DiskLoad {
  std::string pattern;  // fio's: randread, read, write, randwrite
  int64_t block_bytes = 4096;
  int depth = 32;
  bool sync_each = false;  // an fdatasync after each write
};

/// Operations a second on a file of so many bytes in the folder, by io_uring past the cache.
/// kUnsupported where fio is not installed.
Result<double> fio_rate(const std::string& folder, const DiskLoad& load, int64_t file_bytes,
                        int seconds);

}  // namespace hadal::cli
