// A problem's cluster made concrete: which slots exist, which are alive, and how a layer falls
// apart into cells.
#pragma once

#include <span>
#include <vector>

#include "eplb/cell.h"
#include "eplb/eplb.h"

namespace hadal::eplb {

struct Layout {
  Scope scope = Scope::kGlobal;  // never kAuto
  int num_slots = 0;             // physical slots, those of failed GPUs included
  int replicas = 0;              // slots of live GPUs: all of them are filled in every layer
  std::vector<int> first_slot;   // [gpus + 1]
  std::vector<int> capacity;     // [gpus] usable slots: 0 on failed GPUs
  std::vector<double> speed;     // [gpus]
  std::vector<int> node;         // [gpus]
  std::vector<int> live;         // live GPUs, ascending, and so node by node
  std::vector<int> live_end;  // per live node (one with a live GPU): the end of its part of `live`

  int live_nodes() const { return static_cast<int>(live_end.size()); }
  std::span<const int> gpus_of(int live_node) const {
    const int begin = live_node == 0 ? 0 : live_end[live_node - 1];
    return std::span(live).subspan(begin, live_end[live_node] - begin);
  }
  int slots_on(std::span<const int> gpus) const;
};

/// Fills `layout`, or says which rule the problem breaks first. A layout that is used again is
/// filled without allocating.
Result<> make_layout(const Problem& problem, const Options& options, Layout& layout);

/// The cell of `experts` (ids of the layer) on `gpus` (ids of the cluster).
Cell make_cell(const Problem& problem, const Layout& layout, int layer,
               std::span<const int> experts, std::span<const int> gpus);

}  // namespace hadal::eplb
