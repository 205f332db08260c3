// hadal with the commands that need a GPU, and nothing shared but glibc: what `make gpu-bundle`
// takes to a machine that has a GPU and little else.
#include "cli/commands.h"
#include "cli/program.h"

namespace {

using namespace hadal::cli;

void add_commands(Command& root, const CommandTree& /*tree*/) {
  add_gemm(root);
  add_gpu(root);
  add_version(root);
}

}  // namespace

int main(int argc, char** argv) {
  return run_program(argc, argv, add_commands);
}
