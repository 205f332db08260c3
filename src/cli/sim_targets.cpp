#include "cli/sim_targets.h"

#include "io/group_commit_target.h"

namespace hadal::cli {

std::vector<sim::Target> sim_targets() {
  return {io::group_commit_target()};
}

}  // namespace hadal::cli
