// The reference in a loop: what every machine can run, and what the other tables must equal.
#include "cpu/kernels.h"
#include "tensor/dtype.h"

namespace hadal::cpu {
namespace {

template <typename In, typename Out, auto kConvert>
void convert(const In* in, Out* out, size_t n) {
  for (size_t i = 0; i < n; ++i) out[i] = kConvert(in[i]);
}

}  // namespace

constinit const Kernels kScalarKernels = {
    .f32_to_bf16 = convert<float, Bf16, [](float x) { return to_bf16(x); }>,
    .f32_to_f16 = convert<float, F16, [](float x) { return to_f16(x); }>,
    .f32_to_e4m3 = convert<float, E4m3, [](float x) { return to_e4m3(x); }>,
    .f32_to_e5m2 = convert<float, E5m2, [](float x) { return to_e5m2(x); }>,
    .bf16_to_f32 = convert<Bf16, float, [](Bf16 x) { return to_float(x); }>,
    .f16_to_f32 = convert<F16, float, [](F16 x) { return to_float(x); }>,
    .e4m3_to_f32 = convert<E4m3, float, [](E4m3 x) { return to_float(x); }>,
    .e5m2_to_f32 = convert<E5m2, float, [](E5m2 x) { return to_float(x); }>,
    .e4m3_to_bf16 = convert<E4m3, Bf16, [](E4m3 x) { return to_bf16(x); }>,
};

}  // namespace hadal::cpu
