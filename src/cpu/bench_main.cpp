// main() of benchmark programs with a benchmark per instruction set: Google Benchmark's, with
// `--isa=NAME`.
#include <cstdio>
#include <cstdlib>

#include <benchmark/benchmark.h>
#include <fmt/core.h>
#include <unistd.h>

#include "cpu/isa_flag.h"

namespace {

hadal::Result<> add_all(int* argc, char** argv) {
  using namespace hadal::cpu;
  for (const Isa isa : TRY(isas_to_run(TRY(take_isa_flag(argc, argv))))) add_benchmarks(isa);
  return {};
}

/// Peers that use OpenMP keep their threads spinning for milliseconds after a call, on the cores
/// that hadal measures on next. OpenMP reads its environment before main(), so start anew.
void let_openmp_sleep(char** argv) {
  if (std::getenv("OMP_WAIT_POLICY") != nullptr) return;
  ::setenv("OMP_WAIT_POLICY", "passive", 1);
  ::execv("/proc/self/exe", argv);
}

}  // namespace

int main(int argc, char** argv) {
  let_openmp_sleep(argv);
  const hadal::Result<> added = add_all(&argc, argv);
  if (!added) {
    fmt::print(stderr, "{}: --isa: {}\n", argv[0], added.error().message);
    return hadal::exit_code(added.error());
  }
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return 0;
}
