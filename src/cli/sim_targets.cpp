#include "cli/sim_targets.h"

#include "fs/chunk/chunk_target.h"
#include "io/group_commit_target.h"
#include "kv/sim_target.h"
#include "net/rpc_target.h"

namespace hadal::cli {

std::vector<sim::Target> sim_targets() {
  return {fs::chunks_target(), io::group_commit_target(), kv::sim_target(), net::rpc_target()};
}

}  // namespace hadal::cli
