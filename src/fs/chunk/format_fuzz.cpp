// Everything that a chunk store reads back: records, the super page, a log and an index.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <vector>

#include "base/check.h"
#include "fs/chunk/checkpoint.h"
#include "fs/chunk/format.h"
#include "fs/chunk/log.h"
#include "io/sim_disk.h"

namespace hadal::fs {
namespace {

/// Any answer is right, but an error must say something.
template <typename T>
void accept(const Result<T>& result) {
  CHECK(result || !result.error().message.empty());
}

/// What decodes must encode to bytes that decode to the same.
void round_trip(const Record& record) {
  std::vector<std::byte> bytes;
  append_record(bytes, record);
  Reader in(bytes);
  const Result<Record> again = take_record(in);
  CHECK(again && *again == record && in.remaining() == 0);
}

void records(Bytes input) {
  Reader in(input);
  while (in.remaining() > 0) {
    const Result<Record> record = take_record(in);
    if (!record) break;
    round_trip(*record);
  }
  (void)in.ok();
}

/// The input as a file of a store.
void file(Bytes input, const std::string& name) {
  io::SimDisk disk({}, Rng(1));
  const std::string folder = name.substr(0, name.find('/'));
  CHECK(disk.make_folder(folder));
  const auto opened = disk.open(name, io::Open::kCreate);
  CHECK(opened && (*opened)->write(0, input));
  const auto visit = [](const Record& record) -> Result<> {
    round_trip(record);
    return {};
  };
  if (folder == "log") {
    accept(Log::replay(disk, folder, {.first = 7}, 1, visit));
  } else {
    accept(read_checkpoint(disk, folder, 1, visit));
  }
}

}  // namespace
}  // namespace hadal::fs

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace hadal;
  if (size == 0) return 0;
  const Bytes input = std::as_bytes(std::span(data, size)).subspan(1);
  switch (data[0] % 4) {
    case 0: fs::records(input); break;
    case 1: fs::accept(fs::decode_super(input)); break;
    case 2: fs::file(input, "log/0000000000000001"); break;
    default: fs::file(input, "index/0000000000000001");
  }
  return 0;
}
