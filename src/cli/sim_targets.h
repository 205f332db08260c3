// The project's simulator targets, for `hadal sim`: an explicit list, in the order of their names.
#pragma once

#include <vector>

#include "sim/target.h"

namespace hadal::cli {

std::vector<sim::Target> sim_targets();

}  // namespace hadal::cli
