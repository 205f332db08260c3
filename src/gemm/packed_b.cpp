#include <algorithm>
#include <cstring>

#include "gemm/cpu_kernels.h"
#include "gemm/plan.h"
#include "gemm/spec.h"

namespace hadal::gemm {

PackedB::PackedB(const GemmSpec& spec, const CpuKernels& kernels) {
  halves = spec.d.activation == Activation::kSwiglu ? 2 : 1;
  half_rows = spec.n / halves;
  panels = ceil_div(half_rows, kPanel);
  const int64_t k = round_up(spec.k, kQuad);
  if (spec.int8) {
    code_bytes = kPanel;
    scale_per_column = true;
    scale_step = kPanel;
    scale_floats = ceil_div(k, kBlock) * kPanel;
  } else if (!is_fp8(spec.b.type)) {
    code_bytes = kPanel * kernels.wide_bytes;
    scale_floats = 1;
  } else {
    const ScaleSpec& scale = spec.b.scale;
    code_bytes = kPanel;
    // A panel lies within one row of scales if scales span 128 rows and panels start at multiples
    // of 64, which those of the second half need not.
    scale_per_column = scale.block.rows == 1 ||
                       (scale.block.rows == kBlock && halves == 2 && half_rows % kPanel != 0);
    scale_step = scale.block.cols == kWholeExtent ? 0 : (scale_per_column ? kPanel : 1);
    const int64_t blocks = scale_step == 0 ? 1 : ceil_div(k, kBlock);
    scale_floats = blocks * (scale_per_column ? kPanel : 1);
  }
  panel_bytes = round_up(k * code_bytes + scale_floats * 4, 64);
}

void panel_scales(const GemmSpec& spec, const PackedB& layout, const void* b_scale, int64_t group,
                  int64_t first_row, int64_t num_rows, float* out) {
  if (!is_fp8(spec.b.type)) {
    *out = 1;
    return;
  }
  const int64_t columns = layout.scale_per_column ? kPanel : 1;
  for (int64_t i = 0; i < layout.scale_floats; ++i) {
    const int64_t column = i % columns, block = i / columns;
    out[i] = column < num_rows
                 ? scale_at(spec.b.scale, b_scale, group, first_row + column, block * kBlock)
                 : 0.0f;
  }
}

void panel_codes(const GemmSpec& spec, const CpuKernels& kernels, const void* b, int64_t offset,
                 int64_t stride, int64_t num_rows, int64_t k, void* out) {
  const int rows = static_cast<int>(std::min<int64_t>(num_rows, kPanel));
  if (is_fp8(spec.b.type)) {
    kernels.pack_b(static_cast<const uint8_t*>(b) + offset, stride, rows, k,
                   static_cast<uint8_t*>(out));
  } else {
    kernels.pack_b_bf16(static_cast<const Bf16*>(b) + offset, stride, rows, k, out);
  }
}

void panel_int8(const GemmSpec& spec, const CpuKernels& kernels, const void* b, const void* b_scale,
                int64_t group, int64_t first_row, int64_t num_rows, int64_t k_begin, int64_t k,
                void* codes, float* scales) {
  const int64_t offset = group * spec.b.group_stride + first_row * spec.b.stride + k_begin;
  const int rows = static_cast<int>(std::min<int64_t>(num_rows, kPanel));
  kernels.int8_pack_b(static_cast<const uint8_t*>(b) + offset, spec.b.stride, rows, k,
                      int8_table(spec.b.type), static_cast<uint8_t*>(codes), scales);
  for (int64_t done = 0; done < k; done += kBlock, scales += kPanel) {
    float scale = 0;
    for (int row = 0; row < rows; ++row) {
      if (row == 0 || (first_row + row) % spec.b.scale.block.rows == 0) {
        scale = scale_at(spec.b.scale, b_scale, group, first_row + row, k_begin + done);
      }
      scales[row] *= scale;
    }
  }
}

}  // namespace hadal::gemm
