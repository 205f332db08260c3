#include "trace/category.h"

namespace hadal::trace {
namespace {

struct Entry {
  std::string_view cat;
  Category category;
  uint8_t marks;
};

constexpr Entry kEntries[] = {
    {"cpu_op", Category::kCpuOp, kMarkKineto},
    {"cuda_runtime", Category::kRuntime, kMarkKineto},
    {"ac2g", Category::kOther, kMarkKineto},
    {"python_function", Category::kPythonFunction, kMarkKineto},
    {"kernel", Category::kKernel, kMarkKineto},
    {"user_annotation", Category::kUserAnnotation, kMarkKineto},
    {"gpu_user_annotation", Category::kGpuAnnotation, kMarkKineto},
    {"gpu_memcpy", Category::kMemcpy, kMarkKineto},
    {"gpu_memset", Category::kMemset, kMarkKineto},
    {"cuda_driver", Category::kDriver, kMarkKineto},
    {"cuda_sync", Category::kSync, kMarkKineto},
    {"cuda_event", Category::kCudaEvent, kMarkKineto | kMarkNewest},
    {"cpu_instant_event", Category::kInstantEvent, kMarkKineto},
    {"overhead", Category::kOverhead, kMarkKineto},
    {"collective_comm", Category::kCollective, kMarkKineto},
    {"hardware_counters", Category::kHardwareCounter, kMarkKineto | kMarkNewest},
    {"hardware_counter", Category::kHardwareCounter, kMarkKineto | kMarkNewest},
    {"Trace", Category::kTrace, kMarkKineto},
    {"hip_runtime", Category::kRuntime, kMarkKineto},
    {"xpu_runtime", Category::kRuntime, kMarkKineto},
    {"mtia_runtime", Category::kRuntime, kMarkKineto},
    {"glow_runtime", Category::kRuntime, kMarkKineto},
    {"privateuse1_runtime", Category::kRuntime, kMarkKineto},
    {"hip_driver", Category::kDriver, kMarkKineto},
    {"xpu_driver", Category::kDriver, kMarkKineto},
    {"privateuse1_driver", Category::kDriver, kMarkKineto},
    {"xpu_sync", Category::kSync, kMarkKineto},
    {"xpu_event", Category::kCudaEvent, kMarkKineto},
    // 2020 and 2021.
    {"Operator", Category::kCpuOp, kMarkOld},
    {"Runtime", Category::kRuntime, kMarkOld},
    {"Kernel", Category::kKernel, kMarkOld},
    {"Memcpy", Category::kMemcpy, kMarkOld},
    {"Memset", Category::kMemset, kMarkOld},
    {"Python", Category::kPythonFunction, kMarkOld},
    {"UserAnnotation", Category::kUserAnnotation, kMarkOld},
};

}  // namespace

CategoryOf category_of(std::string_view cat) {
  for (const Entry& entry : kEntries) {
    if (entry.cat == cat) return {.category = entry.category, .marks = entry.marks};
  }
  return {.forward_backward = cat == "fwdbwd" || cat == "forward_backward"};
}

std::string_view name(Category category) {
  switch (category) {
    case Category::kOther: return "other";
    case Category::kCpuOp: return "cpu_op";
    case Category::kUserAnnotation: return "user_annotation";
    case Category::kGpuAnnotation: return "gpu_user_annotation";
    case Category::kKernel: return "kernel";
    case Category::kMemcpy: return "gpu_memcpy";
    case Category::kMemset: return "gpu_memset";
    case Category::kRuntime: return "cuda_runtime";
    case Category::kDriver: return "cuda_driver";
    case Category::kSync: return "cuda_sync";
    case Category::kCudaEvent: return "cuda_event";
    case Category::kPythonFunction: return "python_function";
    case Category::kInstantEvent: return "cpu_instant_event";
    case Category::kOverhead: return "overhead";
    case Category::kCollective: return "collective_comm";
    case Category::kHardwareCounter: return "hardware_counter";
    case Category::kTrace: return "Trace";
  }
  return "other";
}

std::string_view name(Generation generation) {
  switch (generation) {
    case Generation::kUnknown: return "unknown";
    case Generation::kG1: return "G1";
    case Generation::kG2: return "G2";
    case Generation::kG3: return "G3";
    case Generation::kG4: return "G4";
  }
  return "unknown";
}

}  // namespace hadal::trace
