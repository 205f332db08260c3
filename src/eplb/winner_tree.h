// A tournament over n keys: the smallest is at the root, and replacing one key costs log2(n)
// compares along one path whose siblings are known in advance, so that they load in parallel. For
// the greedy loops of the balancer it beats std::priority_queue, which moves elements, and a scan,
// from about 16 keys on.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <limits>
#include <vector>

namespace hadal::eplb {

class WinnerTree {
 public:
  static constexpr uint64_t kNever = std::numeric_limits<uint64_t>::max();

  /// Starts over with `size` >= 1 keys given by key(0) .. key(size - 1). Keys must differ, so put
  /// the index into the low bits. Allocates only when `size` grows past all earlier sizes.
  template <typename Key>
  void assign(size_t size, Key key) {
    leaves_ = std::bit_ceil(size);
    if (nodes_.size() < 2 * leaves_) nodes_.resize(2 * leaves_);
    for (size_t i = 0; i < size; ++i) nodes_[leaves_ + i] = key(i);
    std::fill(nodes_.begin() + leaves_ + size, nodes_.begin() + 2 * leaves_, kNever);
    for (size_t i = leaves_ - 1; i > 0; --i) {
      nodes_[i] = std::min(nodes_[2 * i], nodes_[2 * i + 1]);
    }
  }

  uint64_t min() const { return nodes_[1]; }

  void replace(size_t index, uint64_t key) {
    size_t at = leaves_ + index;
    nodes_[at] = key;
    for (; at > 1; at /= 2) {
      key = std::min(key, nodes_[at ^ 1]);
      nodes_[at / 2] = key;
    }
  }

 private:
  size_t leaves_ = 1;
  std::vector<uint64_t> nodes_;  // nodes_[1] is the root, leaves from nodes_[leaves_]
};

}  // namespace hadal::eplb
