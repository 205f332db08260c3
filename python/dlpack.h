// The memory layout of DLPack capsules: dmlc.github.io/dlpack, versions 0.x ("dltensor") and 1.x
// ("dltensor_versioned"). Names of fields are ours; their order and types are the protocol's.
#pragma once

#include <cstdint>

namespace hadal::python {

enum DlDeviceType : int32_t { kDlCpu = 1, kDlCuda = 2, kDlCudaHost = 3, kDlCudaManaged = 13 };

struct DlDevice {
  int32_t type;
  int32_t id;
};

struct DlType {
  uint8_t code;  // 0 int, 1 uint, 2 IEEE float, 4 bfloat, 10 e4m3fn, 12 e5m2, 14 e8m0fnu
  uint8_t bits;
  uint16_t lanes;
};

struct DlTensor {
  void* data;
  DlDevice device;
  int32_t num_dims;
  DlType type;
  int64_t* shape;
  int64_t* strides;  // in elements; null: row major
  uint64_t byte_offset;
};

struct DlManaged {
  DlTensor tensor;
  void* context;
  void (*deleter)(DlManaged*);
};

inline constexpr uint64_t kDlReadOnly = 1;

struct DlManagedVersioned {
  struct {
    uint32_t major, minor;
  } version;
  void* context;
  void (*deleter)(DlManagedVersioned*);
  uint64_t flags;
  DlTensor tensor;
};

static_assert(sizeof(DlTensor) == 48 && sizeof(DlManaged) == 64 &&
              sizeof(DlManagedVersioned) == 80);

}  // namespace hadal::python
