// Which activities of different ranks are one collective. Internal to ranks.h, which defines it.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "trace/ranks.h"

namespace hadal::trace {

struct Matches {
  std::vector<CollectiveKind> kinds;  // names only, no figures
  /// By (kind, sequence), each of two members or more; members by rank, times on each rank's own
  /// clock, counted from the same moment of the nominal time.
  std::vector<Collective> collectives;
  std::vector<CollectiveMember> members;
  std::vector<std::string> notes;
};

Matches match_collectives(std::span<const GpuView> views);

}  // namespace hadal::trace
