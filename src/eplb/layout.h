// A problem's cluster made concrete: which slots exist, which are alive, and how a layer falls apart
// into cells.
#pragma once

#include <vector>

#include "eplb/cell.h"
#include "eplb/eplb.h"

namespace hadal::eplb {

struct Layout {
  Scope scope;                  // never kAuto
  int num_slots = 0;            // physical slots, those of failed GPUs included
  int replicas = 0;             // slots of live GPUs: all of them are filled in every layer
  std::vector<int> first_slot;  // [gpus + 1]
  std::vector<int> capacity;    // [gpus] usable slots: 0 on failed GPUs
  std::vector<double> speed;    // [gpus]
  std::vector<int> node;        // [gpus]
  std::vector<std::vector<int>> live_gpus;  // per node that has any: its live GPUs

  int slots_on(const std::vector<int>& gpus) const;
};

/// The first broken rule of the problem, or its layout.
Result<Layout> make_layout(const Problem& problem, const Options& options);

/// The cell of `experts` (ids of the layer) on `gpus` (ids of the cluster).
Cell make_cell(const Problem& problem, const Layout& layout, int layer,
               const std::vector<int>& experts, const std::vector<int>& gpus);

}  // namespace hadal::eplb
