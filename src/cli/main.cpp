// hadal: one program for all systems. A command is `hadal <system> <verb>`.
#include "cli/commands.h"
#include "cli/program.h"

namespace {

using namespace hadal::cli;

void add_commands(Command& root, const CommandTree& tree) {
  add_demo(root);
  add_gemm(root);
  add_kv(root);
  add_trace(root);
  add_eplb(root);
  add_gpu(root);
  add_fs(root);
  add_sim(root);
  add_doctor(root);
  add_completion(root, tree);
  add_version(root);
}

}  // namespace

int main(int argc, char** argv) {
  return run_program(argc, argv, add_commands);
}
