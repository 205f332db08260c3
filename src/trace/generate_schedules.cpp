#include "trace/generate_schedules.h"

#include <algorithm>

namespace hadal::trace::gen {
namespace {

using enum Kernel;

// An annotation as a scope.
class Annotated {
 public:
  Annotated(Machine& machine, std::string_view name, bool leaf = true) : machine_(machine) {
    machine_.begin(name, leaf);
  }
  ~Annotated() { machine_.end(); }
  Annotated(const Annotated&) = delete;
  Annotated& operator=(const Annotated&) = delete;

 private:
  Machine& machine_;
};

constexpr Stream kComp = Stream::kCompute;
constexpr Stream kComm = Stream::kCommunication;
constexpr Stream kAux = Stream::kWeight;

// --- DualPipe: the order, the streams and the waits of DeepSeek-V3's published trace -------------

constexpr Kernel kAttnForward[] = {
    kLayerNorm,  kCastFp8,    kTranspose, kGemmSmall,    kCastFp8, kTranspose, kGemmSmall,
    kAdd,        kCastFp8,    kTranspose, kGemmSmall,    kCastFp8, kTranspose, kGemmSmall,
    kRotary,     kCopyTensor, kRotary,    kFlashForward, kCastFp8, kCastFp8,   kTranspose,
    kGemm,       kAdd,        kLayerNorm, kGemmBf16,     kSigmoid, kReduce,    kTopk,
    kMemcpyDtoD, kSigmoid,    kMemset,    kReduce,       kTopk,    kReduce,    kCastFp8};
constexpr Kernel kAttnBackward[] = {
    kCastTranspose, kSigmoid,           kReduce,        kMemset,
    kGemmBf16,      kGemmBf16,          kAdd,           kLayerNormBackward,
    kReduce,        kCastFp8,           kTranspose,     kGemm,
    kCastTranspose, kLayerNorm,         kCastFp8,       kTranspose,
    kGemmSmall,     kCastFp8,           kTranspose,     kGemmSmall,
    kRotary,        kCopyTensor,        kRotary,        kFlashBackward,
    kRotary,        kCastFp8,           kTranspose,     kGemmSmall,
    kCopyTensor,    kCopyTensor,        kCastFp8,       kTranspose,
    kGemmSmall,     kCastTranspose,     kCastTranspose, kLayerNorm,
    kCastFp8,       kTranspose,         kGemmSmall,     kCastTranspose,
    kAdd,           kLayerNormBackward, kReduce};
constexpr Kernel kMlpForward[] = {kExpand,    kTranspose,   kGemmGrouped, kSwiglu,
                                  kTranspose, kGemmGrouped, kCastFp8,     kTranspose,
                                  kGemmSmall, kSwiglu,      kGemmSmall,   kReduceFused};
constexpr Kernel kMlpBackward[] = {kCastTranspose,  kTranspose,     kGemmSmall,  kCastTranspose,
                                   kSwigluBackward, kExpand,        kTranspose,  kGemmGrouped,
                                   kSwigluBackward, kCastTranspose, kLayerNorm,  kCastFp8,
                                   kTranspose,      kGemmGrouped,   kReduceFused};

void dualpipe_layer(Machine& m, int layer) {
  {
    const Annotated region(m, "combine(B)");
    m.wait(kComm, kComp);
    m.kernel(kCastFp8, kComm, 4);
    m.collective(kCachedNotify, kComm, layer);
    m.kernel(kDispatchBackward, kComm);
  }
  const int combined = m.record(kComm);
  {
    const Annotated region(m, "attn(F)");
    m.kernels(kAttnForward);
  }
  const int attended = m.record(kComp);
  {
    const Annotated region(m, "mlp(B)");
    m.wait(kComp, combined);
    m.kernels(kMlpBackward);
  }
  const int mlp_back = m.record(kComp);
  {
    const Annotated region(m, "dispatch(F)");
    m.wait(kComm, attended);
    m.kernel(kDispatchLayout, kComm);
    m.collective(kNotifyDispatch, kComm, layer);
    m.host_wait(kComm);  // for the number of tokens that will come
    m.kernel(kDispatchForward, kComm);
  }
  const int dispatched = m.record(kComm);
  {
    const Annotated region(m, "dispatch(B)");
    m.wait(kComm, mlp_back);
    m.collective(kCachedNotify, kComm, layer);
    m.kernel(kCombine, kComm);
  }
  const int dispatched_back = m.record(kComm);
  {
    const Annotated region(m, "mlp(W)");
    m.wait(kAux, kComp);
    m.kernel(kGemmWeight, kAux);
    m.kernels({{kGemmWeight, kGemmWeight, kGemmWeight, kGemmWeight, kGemmWeight, kGemmWeight}});
    m.kernel(kGemmWeight, kAux);
    m.wait(kComp, kAux);
  }
  {
    const Annotated region(m, "mlp(F)");
    m.wait(kComp, dispatched);
    m.kernels(kMlpForward);
  }
  const int mlp_done = m.record(kComp);
  {
    const Annotated region(m, "attn(B)");
    m.wait(kComp, dispatched_back);
    m.autograd(true);
    m.kernels(kAttnBackward);
    m.autograd(false);
  }
  {
    const Annotated region(m, "attn(W)");
    m.kernels({{kGemmWeight, kGemmWeight, kGemmWeight, kGemmWeight}});
  }
  {
    const Annotated region(m, "combine(F)");
    m.wait(kComm, mlp_done);
    m.collective(kCachedNotify, kComm, layer);
    m.kernel(kCombine, kComm);
  }
}

// --- dense models --------------------------------------------------------------------------------

constexpr Kernel kDenseAttention[] = {kLayerNorm,    kGemmSmall, kRotary,
                                      kFlashForward, kGemmSmall, kAdd};
constexpr Kernel kDenseMlp[] = {kLayerNorm, kGemm, kSwiglu, kGemm, kAdd};
constexpr Kernel kDenseBackward[] = {
    kAdd,       kGemm,          kSwigluBackward, kGemm,       kGemmWeight,       kLayerNormBackward,
    kGemmSmall, kFlashBackward, kRotary,         kGemmWeight, kLayerNormBackward};

void data_and_embedding(Machine& m) {
  {
    const Annotated region(m, "enumerate(DataLoader)#_SingleProcessDataLoaderIter.__next__");
    m.host_work("aten::stack", 60'000);
    m.kernel(kMemcpyHtoD);
  }
  const Annotated region(m, "embedding");
  m.kernel(kEmbedding);
}

void optimizer(Machine& m, int layers) {
  const Annotated region(m, "Optimizer.step#AdamW.step");
  for (int i = 0; i < layers; ++i) m.kernel(kAdam);
  m.kernel(kMemcpyDtoH);
}

// Tensor parallel: all-reduce after attention and after the MLP, waited for at once.
void sequential_layer(Machine& m) {
  const auto reduce = [&] {
    m.wait(kComm, kComp);
    m.collective(kNcclAllReduce, kComm);
    m.wait(kComp, kComm);
  };
  {
    const Annotated region(m, "attention");
    m.kernels(kDenseAttention);
    reduce();
  }
  const Annotated region(m, "mlp");
  m.kernels(kDenseMlp);
  reduce();
}

// The transfer waits for what came before the GEMM and is shorter than the GEMM.
void overlapped_layer(Machine& m) {
  const Annotated region(m, "layer");
  m.kernel(kLayerNorm);
  const int before = m.record(kComp);
  m.kernel(kGemmGrouped, kComp, 3);
  m.wait(kComm, before);
  m.collective(kNcclAllGather, kComm);
  m.wait(kComp, kComm);
  m.kernel(kAdd);
}

void ddp(Machine& m, int layers, int micro_batches) {
  for (int batch = 0; batch < micro_batches; ++batch) {
    data_and_embedding(m);
    for (int layer = 0; layer < layers; ++layer) {
      const Annotated region(m, "forward");
      m.kernels(kDenseAttention);
      m.kernels(kDenseMlp);
    }
    for (int layer = layers - 1; layer >= 0; --layer) {
      const Annotated region(m, "backward");
      m.autograd(true);
      m.kernels(kDenseBackward);
      m.autograd(false);
      if (batch + 1 == micro_batches) {  // gradients accumulate before
        m.wait(kComm, kComp);
        m.collective(kNcclAllReduce, kComm, 0, 2);
      }
      m.end_layer(layers * micro_batches);
    }
  }
  m.wait(kComp, kComm);
  optimizer(m, layers);
}

void fsdp(Machine& m, int layers, int micro_batches) {
  const auto gather = [&] { m.collective(kNcclAllGather, kComm); };
  for (int batch = 0; batch < micro_batches; ++batch) {
    data_and_embedding(m);
    {
      const Annotated region(m, "FullyShardedDataParallel._pre_forward");
      gather();
    }
    for (int layer = 0; layer < layers; ++layer) {
      const Annotated region(m, "FullyShardedDataParallel.forward");
      m.wait(kComp, kComm);
      if (layer + 1 < layers) gather();  // one layer ahead
      m.kernels(kDenseAttention);
      m.kernels(kDenseMlp);
    }
    for (int layer = layers - 1; layer >= 0; --layer) {
      const Annotated region(m, "FullyShardedDataParallel._post_backward");
      m.wait(kComp, kComm);
      if (layer > 0) gather();
      m.autograd(true);
      m.kernels(kDenseBackward);
      m.autograd(false);
      m.wait(kComm, kComp);
      m.collective(kNcclReduceScatter, kComm);
      m.end_layer(layers * micro_batches);
    }
  }
  m.wait(kComp, kComm);
  optimizer(m, layers);
}

void decode_layer(Machine& m) {
  m.kernels({{kRmsNorm, kDecodeGemm, kRotary}}, kComp, 0.1);
  m.kernels({{kDecodeAttention, kDecodeGemm}}, kComp, 0.4);
  m.collective(kCustomAllReduce, kComp, 0, 0.5);
  m.kernels({{kRmsNorm, kTopk, kDecodeGemm, kSwiglu, kDecodeGemm}}, kComp, 0.2);
  m.collective(kCustomAllReduce, kComp, 0, 0.5);
}

void decode(Machine& m, bool graphs, int layers) {
  {
    const Annotated region(m, "prepare_inputs");
    m.host_work("aten::index_put_", 40'000);
    m.kernel(kMemcpyHtoD, kComp, 0.05);
  }
  {
    const Annotated region(m, "model_forward");
    if (graphs) m.begin_graph("CUDAGraph.replay");
    for (int layer = 0; layer < layers; ++layer) decode_layer(m);
    if (graphs) m.end_graph();
  }
  const Annotated region(m, "sample");
  m.kernels({{kSoftmax, kReduce, kMemcpyDtoH}});
  m.synchronize(Api::kStreamSynchronize);
}

void dualpipe(Machine& m, int layers, int micro_batches) {
  const Annotated block(m, "1F1B", false);
  for (int i = 0; i < layers * micro_batches; ++i) {
    dualpipe_layer(m, i % layers);
    m.end_layer(layers * micro_batches);
  }
}

void dense(Machine& m, bool overlapped, int layers, int micro_batches) {
  for (int i = 0; i < layers * micro_batches; ++i) {
    if (i % layers == 0) data_and_embedding(m);
    if (overlapped) {
      overlapped_layer(m);
    } else {
      sequential_layer(m);
    }
    m.end_layer(layers * micro_batches);
  }
}

}  // namespace

void run_step(Machine& m, Schedule schedule, int number, int layers, int micro_batches) {
  m.begin_step(number);
  switch (schedule) {
    case Schedule::kSequential: dense(m, false, layers, micro_batches); break;
    case Schedule::kOverlapped: dense(m, true, layers, micro_batches); break;
    case Schedule::kDualPipe: dualpipe(m, layers, micro_batches); break;
    case Schedule::kFsdp: fsdp(m, layers, micro_batches); break;
    case Schedule::kDdp: ddp(m, layers, micro_batches); break;
    case Schedule::kInference:
    case Schedule::kInferenceEager:
      for (int i = 0; i < micro_batches; ++i) {
        decode(m, schedule == Schedule::kInference, layers);
        m.end_layer(micro_batches);
      }
      break;
  }
  m.end_step();
}

}  // namespace hadal::trace::gen
