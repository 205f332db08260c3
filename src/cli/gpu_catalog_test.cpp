// The kernels as NVRTC compiles them: nothing spills, wgmma stays asynchronous, registers and
// shared memory are what the table says (scripts/gpu-budgets writes it), and the instructions that
// matter are there.
#include "cli/gpu_catalog.h"

#include <filesystem>
#include <map>
#include <string>
#include <utility>

#include <fmt/core.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "base/files.h"
#include "base/threads.h"
#include "gpu/kernel_store.h"
#include "gpu/sass.h"

namespace hadal::cli {
namespace {

struct Budget {
  int registers = 0;
  size_t shared_bytes = 0;
  auto operator<=>(const Budget&) const = default;
};

/// src/cli/gpu_budgets.csv: kernel,registers,shared_bytes.
std::map<std::string, Budget> read_budgets() {
  std::map<std::string, Budget> out;
  const auto text = read_file(std::string(HADAL_SOURCE_DIR) + "/src/cli/gpu_budgets.csv");
  if (!text) return out;
  size_t begin = text->find('\n') + 1;
  for (size_t end; (end = text->find('\n', begin)) != std::string::npos; begin = end + 1) {
    const std::string line = text->substr(begin, end - begin);
    const size_t first = line.find(','), second = line.find(',', first + 1);
    out[line.substr(0, first)] = {.registers = std::stoi(line.substr(first + 1)),
                                  .shared_bytes = std::stoul(line.substr(second + 1))};
  }
  return out;
}

TEST(GpuCatalog, NamesAreUniqueAndEveryKernelHasABudget) {
  const std::map<std::string, Budget> budgets = read_budgets();
  std::map<std::string, int> names;
  for (const gpu::KernelSource& kernel : gpu_catalog()) {
    EXPECT_EQ(++names[kernel.name], 1) << kernel.name;
    ASSERT_TRUE(budgets.contains(kernel.name)) << kernel.name;
    EXPECT_EQ(budgets.at(kernel.name).shared_bytes, kernel.shared_bytes) << kernel.name;
    EXPECT_NE(kernel.emulated, nullptr) << kernel.name;
  }
  EXPECT_EQ(names.size(), budgets.size());
}

TEST(GpuCatalog, CompilesWithinItsBudgets) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "minutes of the compiler's own work, which other builds look at";
#endif
  const std::string cache =
      (std::filesystem::temp_directory_path() / fmt::format("hadal_catalog_{}", ::getpid()))
          .string();
  {
    gpu::KernelStore store(gpu::DeviceOptions{.cache_path = cache});
    if (!store.compiler()) GTEST_SKIP() << store.compiler().error().message;
    const std::map<std::string, Budget> budgets = read_budgets();
    const std::vector<gpu::KernelSource> catalog = gpu_catalog();
    ThreadPool pool;
    for (const gpu::Warmed& kernel : gpu::warm(store, catalog, pool)) {
      ASSERT_FALSE(kernel.error) << kernel.name << ": " << kernel.error->message;
      ASSERT_EQ(kernel.report.entries.size(), 1U) << kernel.name;
      EXPECT_EQ(kernel.report.spill_bytes(), 0) << kernel.name;
      EXPECT_TRUE(kernel.report.notes.empty()) << kernel.name << ": " << kernel.report.notes[0];
      ASSERT_TRUE(budgets.contains(kernel.name)) << kernel.name;
      // Compilers differ by a few; more is a change that somebody should look at.
      EXPECT_LE(kernel.report.entries[0].registers, budgets.at(kernel.name).registers + 8)
          << kernel.name;
    }
    if (const Result<std::string> program = gpu::find_disassembler()) {
      for (const gpu::KernelSource& source : catalog) {
        const auto kernel = store.get(source);
        ASSERT_TRUE(kernel) << kernel.error().message;
        const auto listing = gpu::disassemble(kernel->cubin, *program);
        ASSERT_TRUE(listing) << listing.error().message;
        const bool fp8 = source.name.find("bf16") == std::string::npos;
        EXPECT_GT(gpu::count_instructions(*listing, fp8 ? "QGMMA" : "HGMMA"), 0) << source.name;
        EXPECT_GT(gpu::count_instructions(*listing, "UTMALDG"), 0) << source.name;
      }
    }
  }
  std::filesystem::remove_all(cache);
}

}  // namespace
}  // namespace hadal::cli
