// The embedded store and the memory store do the same, whatever the transactions, crashes between
// them included.
#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/check.h"
#include "io/sim_disk.h"
#include "kv/embedded.h"
#include "kv/memory.h"
#include "sim/world.h"

namespace hadal::kv {
namespace {

constexpr size_t kOpen = 3;  // transactions under way

/// Takes what to do from the fuzzer's bytes; zeros when there are no more.
struct Choices {
  const uint8_t* data;
  size_t size;
  uint8_t next() {
    if (size == 0) return 0;
    --size;
    return *data++;
  }
  std::string key() { return std::string(1, static_cast<char>('a' + next() % 8)); }
};

/// A transaction in both stores.
struct Twin {
  Transaction left, right;
};

template <typename T>
void same(const Result<T>& left, const Result<T>& right) {
  CHECK(left.has_value() == right.has_value());
  if (left) {
    CHECK(*left == *right);
  } else {
    CHECK(left.error().code == right.error().code);
  }
}

void same(const Result<Rows>& left, const Result<Rows>& right) {
  CHECK(left.has_value() == right.has_value());
  if (left) CHECK(left->rows == right->rows && left->has_more == right->has_more);
}

void step(Choices& choices, Twin& t) {
  std::string a = choices.key(), b = choices.key();
  if (a > b) std::swap(a, b);
  const uint8_t what = choices.next();
  const RangeOptions options{.rows_max = 1U + what / 64, .reverse = what % 32 >= 16};
  switch (what % 8) {
    case 0: return same(t.left.get(a), t.right.get(a));
    case 1: return same(t.left.snapshot_get(a), t.right.snapshot_get(a));
    case 2: return same(t.left.get_range(a, b, options), t.right.get_range(a, b, options));
    case 3:
      return same(t.left.snapshot_get_range(a, b, options),
                  t.right.snapshot_get_range(a, b, options));
    case 4: t.left.clear(a), t.right.clear(a); return;
    case 5: t.left.clear_range(a, b), t.right.clear_range(a, b); return;
    case 6: t.left.add_read_conflict_range(a, b), t.right.add_read_conflict_range(a, b); return;
    default:
      const std::string value(1, static_cast<char>(choices.next()));
      t.left.set(a, value), t.right.set(a, value);
  }
}

void run_all(Choices choices, sim::Process& self) {
  io::SimDisk disk({}, Rng(1));
  const auto open = [&] { return *EmbeddedStore::open(self, {.path = "kv"}, {disk, Rng(1), 0}); };
  MemoryStore memory(self);
  std::unique_ptr<EmbeddedStore> store = open();
  std::array<std::optional<Twin>, kOpen> twins;
  for (int steps = 0; choices.size > 0 && steps < 2000; ++steps) {
    const uint8_t pick = choices.next();
    auto& twin = twins[pick % kOpen];
    if (!twin) twin.emplace(store->begin(), memory.begin());
    // Both stores count versions from 1, one per commit that writes.
    same(twin->left.read_version(), twin->right.read_version());
    if (pick < 160) {
      step(choices, *twin);
    } else if (pick < 250) {
      same(twin->left.commit(), twin->right.commit());
      CHECK(twin->left.committed() == twin->right.committed());
      twin.reset();
    } else if (pick < 253) {
      CHECK(store->flush());
    } else {
      for (auto& open_twin : twins) open_twin.reset();
      store.reset();
      disk.lose_power();
      store = open();
    }
  }
  for (auto& twin : twins) twin.reset();
  CHECK(store->check());
  store->close();
}

}  // namespace
}  // namespace hadal::kv

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace hadal;
  sim::World world({.seed = 1});
  bool done = false;
  world.add_process("fuzz", [&](sim::Process& self) {
    kv::run_all({data, size}, self);
    done = true;
  });
  CHECK(world.run_until([&] { return done; }, 10'000 * kSecond));
  return 0;
}
