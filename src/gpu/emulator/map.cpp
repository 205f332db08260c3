#include "gpu/emulator/map.h"

#include <algorithm>
#include <cstring>

namespace hadal::gpu::emulator {
namespace {

constexpr uint64_t kMagic = 0x70616d6c61646168;  // "hadalmap"
constexpr uint32_t kUnitBytes = 16;

struct Encoded {
  uint64_t magic;
  Map map;
};
static_assert(sizeof(Encoded) <= sizeof(TensorMap));

}  // namespace

uint32_t Map::box_bytes() const {
  uint32_t bytes = element_bytes();
  for (int i = 0; i < rank; ++i) bytes *= box[i];
  return bytes;
}

TensorMap encode_map(const TensorMapSpec& spec) {
  Encoded encoded{kMagic, {}};
  Map& map = encoded.map;
  map.address = spec.address;
  map.dims = spec.dims;
  map.strides_bytes = spec.strides_bytes;
  for (int i = 0; i < 5; ++i) map.box[i] = static_cast<uint16_t>(spec.box[i]);
  map.rank = static_cast<uint8_t>(spec.rank);
  map.element = spec.element;
  map.swizzle = spec.swizzle;
  TensorMap bytes = {};
  std::memcpy(&bytes, &encoded, sizeof(encoded));
  return bytes;
}

std::optional<Map> decode_map(const void* map) {
  Encoded encoded;
  std::memcpy(&encoded, map, sizeof(encoded));
  if (encoded.magic != kMagic) return std::nullopt;
  return encoded.map;
}

uint32_t swizzle_offset(uint32_t offset, Swizzle swizzle) {
  switch (swizzle) {
    case Swizzle::kNone: return offset;
    case Swizzle::k32: return offset ^ (offset >> 3 & 0x10);
    case Swizzle::k64: return offset ^ (offset >> 3 & 0x30);
    case Swizzle::k128: return offset ^ (offset >> 3 & 0x70);
  }
  return offset;
}

void for_each_unit(const Map& map, uint32_t shared, const int32_t* at,
                   const std::function<void(const Unit&)>& visit) {
  const auto per_unit = static_cast<int64_t>(kUnitBytes / map.element_bytes());
  const auto width = static_cast<int64_t>(map.dims[0]);
  std::array<uint32_t, 5> row = {};  // position of the row within the box; row[0] stays 0
  uint32_t linear = shared;
  while (true) {
    uint64_t address = map.address;
    bool inside = true;
    for (int d = 1; d < map.rank; ++d) {
      const int64_t index = int64_t{at[d]} + row[d];
      inside = inside && index >= 0 && index < static_cast<int64_t>(map.dims[d]);
      address += static_cast<uint64_t>(index) * map.strides_bytes[d - 1];
    }
    for (int64_t i = 0; i < map.box[0]; i += per_unit) {
      const int64_t first = at[0] + i;
      const int64_t begin = std::clamp<int64_t>(first, 0, width);
      const int64_t end = std::clamp<int64_t>(first + per_unit, 0, width);
      Unit unit = {swizzle_offset(linear, map.swizzle), 0, 0, 0};
      if (inside && begin < end) {
        unit.global = address + static_cast<uint64_t>(begin) * map.element_bytes();
        unit.elements = static_cast<uint32_t>(end - begin);
        unit.skipped = static_cast<uint32_t>(begin - first);
      }
      visit(unit);
      linear += kUnitBytes;
    }
    int d = 1;
    while (d < map.rank && ++row[d] == map.box[d]) row[d++] = 0;
    if (d >= map.rank) return;
  }
}

}  // namespace hadal::gpu::emulator
