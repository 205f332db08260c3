#include <algorithm>
#include <string>
#include <utility>

#include <fmt/core.h>

#include "base/rng.h"
#include "gemm/mqa_cases.h"
#include "gemm/spec.h"
#include "tensor/dtype.h"

namespace hadal::gemm {
namespace {

int32_t i32(int64_t x) {
  return static_cast<int32_t>(x);
}

MqaSpec plain(int64_t queries, int64_t keys, int heads, int head_dim) {
  return {.queries = queries, .heads = heads, .head_dim = head_dim, .keys = keys};
}

enum class Mask { kFull, kCausal, kParallel, kSliding, kRandom, kEmpty };

/// kParallel: the two pieces of a sequence that a rank has, one early and one late.
void set_mask(MqaCase& c, Mask mask) {
  const int64_t n = c.spec.queries, keys = c.spec.keys;
  Rng rng(5);
  for (int64_t i = 0; i < n; ++i) {
    int64_t begin = 0, end = keys;
    switch (mask) {
      case Mask::kFull: break;
      case Mask::kCausal: end = keys - n + i + 1; break;
      case Mask::kParallel: end = i < n / 2 ? i + 1 : keys - n + i + 1; break;
      case Mask::kSliding:
        begin = i * 37 - 60;  // the first begins before the keys, the last ends behind them
        end = begin + 90;
        break;
      case Mask::kRandom:
        begin = static_cast<int64_t>(rng.below(static_cast<uint64_t>(keys))) - 3;
        end = static_cast<int64_t>(rng.below(static_cast<uint64_t>(keys))) + keys / 2;
        break;
      case Mask::kEmpty:
        begin = i % 3 == 0 ? keys : 10;
        end = i % 3 == 1 ? 10 : i % 3 == 2 ? 7 : keys;
        break;
    }
    c.ks.push_back(i32(begin));
    c.ke.push_back(i32(end));
  }
}

class List {
 public:
  void add(std::string_view what, MqaCase c) {
    const MqaSpec& s = c.spec;
    c.name = fmt::format("{}/{} {} x {}, {} x {}", s.paged ? "mqa_decode" : "mqa_prefill", what,
                         s.queries, s.keys, s.heads, s.head_dim);
    cases_.push_back(std::move(c));
  }
  void add(std::string_view what, const MqaSpec& spec, Mask mask, Fill fill = Fill::kInteger) {
    MqaCase c;
    c.spec = spec;
    c.fill = fill;
    set_mask(c, mask);
    add(what, std::move(c));
  }
  std::vector<MqaCase> take() { return std::move(cases_); }

 private:
  std::vector<MqaCase> cases_;
};

void add_shapes(List& list) {
  for (const int64_t keys : {1, 16, 63, 64, 65, 255, 256, 257, 700}) {
    list.add("keys", plain(3, keys, 32, 64), Mask::kFull);
  }
  for (const int64_t queries : {1, 2, 4, 5, 9}) {
    list.add("queries", plain(queries, 130, 32, 128), Mask::kFull);
    list.add("queries", plain(queries, 130, 64, 128), Mask::kCausal);
  }
  for (const int heads : {1, 3, 8, 31, 33, 64, 100, 128}) {
    list.add("heads", plain(3, 150, heads, 64), Mask::kFull);
  }
  for (const int head_dim : {16, 32, 48, 64, 96, 128, 144, 256}) {
    list.add("depth", plain(5, 150, 32, head_dim), Mask::kFull);
    list.add("depth", plain(2, 150, 64, head_dim), Mask::kFull, Fill::kNormal);
  }
  for (const int heads : {32, 64, 128}) {
    list.add("codes", plain(3, 200, heads, 128), Mask::kFull, Fill::kCodes);
  }
  list.add("empty", plain(0, 100, 32, 64), Mask::kFull);
  list.add("empty", plain(3, 0, 32, 64), Mask::kFull);
}

void add_masks(List& list) {
  const std::pair<const char*, Mask> masks[] = {{"causal", Mask::kCausal},
                                                {"context parallel", Mask::kParallel},
                                                {"sliding", Mask::kSliding},
                                                {"random", Mask::kRandom},
                                                {"no keys", Mask::kEmpty}};
  for (const auto& [name, mask] : masks) {
    for (const DType type : {DType::kF32, DType::kBf16}) {
      for (const bool clean : {true, false}) {
        MqaSpec spec = plain(21, 613, 64, 128);
        spec.type = type;
        spec.clean = clean;
        spec.stride = clean ? 617 : 0;
        const std::string text =
            fmt::format("{} {}{}", name, hadal::name(type), clean ? "" : ", rest left");
        list.add(text, spec, mask, clean ? Fill::kInteger : Fill::kNormal);
        spec.heads = 32;
        spec.compressed = true;
        spec.stride = 0;
        spec.columns = mask == Mask::kSliding ? 80 : mask == Mask::kRandom ? 401 : 0;
        list.add("compressed " + text, spec, mask);
      }
    }
  }
  MqaSpec wide = plain(3, 130, 64, 128);
  wide.compressed = true;
  wide.columns = 1000;
  list.add("compressed with room", wide, Mask::kSliding);
}

/// Blocks for all contexts and a few more.
MqaSpec paged(int64_t requests, int next_n, int64_t keys, int heads, int block_size) {
  MqaSpec spec = plain(requests * next_n, keys, heads, 128);
  spec.paged = true;
  spec.next_n = next_n;
  spec.block_size = block_size;
  spec.max_blocks = ceil_div(keys, block_size) + 1;
  spec.num_blocks = requests * spec.max_blocks + 3;
  return spec;
}

void add_pages(List& list) {
  for (const int block_size : {16, 48, 64, 128, 512}) {
    for (const int next_n : {1, 2, 3}) {
      MqaCase c;
      c.spec = paged(3, next_n, 700, next_n == 2 ? 64 : 32, block_size);
      c.spec.clean = next_n != 3;
      c.context_lens = {1, 700, 300};
      list.add(fmt::format("blocks of {}", block_size), c);
      c.spec.head_dim = 64;
      c.spec.type = DType::kBf16;
      c.context_lens = {0, 65, 900};  // none, and more than there are columns
      list.add(fmt::format("blocks of {} bf16", block_size), c);
    }
  }
  MqaCase c;
  c.spec = paged(4, 2, 513, 64, 64);
  c.spec.length_per_query = true;
  c.context_lens = {5, 400, 0, 1, 513, 512, 64, 65};
  list.add("length per query", c);
  c.fill = Fill::kNormal;
  c.spec.type = DType::kBf16;
  list.add("length per query bf16", c);
  c.spec.type = DType::kF32;
  c.spec.max_blocks = 3;  // contexts are cut off there
  list.add("short table", c);
  c.spec = paged(2, 5, 200, 100, 32);
  c.fill = Fill::kInteger;
  c.context_lens = {2, 200};  // two keys for five queries
  list.add("five queries", c);
}

}  // namespace

std::vector<MqaCase> all_mqa_cases() {
  List list;
  add_shapes(list);
  add_masks(list);
  add_pages(list);
  return list.take();
}

}  // namespace hadal::gemm
