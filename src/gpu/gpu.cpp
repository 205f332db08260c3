#include "gpu/gpu.h"

namespace hadal::gpu {

size_t size_bytes(Element element) {
  switch (element) {
    case Element::kU8: return 1;
    case Element::kF16:
    case Element::kBf16: return 2;
    case Element::kI32:
    case Element::kF32: return 4;
  }
  return 0;
}

}  // namespace hadal::gpu
