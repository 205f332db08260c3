// From a kernel template to a KernelSource.
//
// A kernel of the catalog is a function template over a configuration, with its parameters as the
// only argument. The GPU needs it as text with an extern "C" entry, the emulator as a pointer to a
// function that g++ has instantiated:
//
//   KernelSource source = {
//       .name = "scale_128",
//       .text = entry_text({.name = "scale_128", .header = "gemm/scale_sm90.cuh",
//                           .kernel = "hadal::gemm::scale<hadal::gemm::ScaleConfig<128>>",
//                           .parameters = "hadal::gemm::ScaleParameters", .threads = 384}),
//       .parameter_bytes = sizeof(ScaleParameters), .threads = 384, .shared_bytes = ...,
//       .emulated = &run_thread<ScaleParameters, scale<ScaleConfig<128>>>};
//
// Pure functions.
#pragma once

#include <string>
#include <string_view>

namespace hadal::gpu {

struct Entry {
  std::string_view name;        // of the extern "C" function
  std::string_view header;      // that defines the kernel, relative to src/
  std::string_view kernel;      // the instantiated template, with namespaces
  std::string_view parameters;  // its parameter struct, with namespaces
  int threads = 0;              // per block
};

/// The CUDA C++ text of an entry: one block per SM, parameters in constant memory, where TMA can
/// find tensor maps.
std::string entry_text(const Entry& entry);

/// KernelSource::emulated of a kernel: calls it for one CUDA thread.
template <typename Parameters, void (*kKernel)(const Parameters&)>
void run_thread(const void* parameters) {
  kKernel(*static_cast<const Parameters*>(parameters));
}

}  // namespace hadal::gpu
