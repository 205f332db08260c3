#include "trace/trace_generator.h"

#include <algorithm>
#include <iterator>
#include <vector>

#include <fmt/format.h>

#include "base/rng.h"

namespace hadal::trace {
namespace {

class Writer {
 public:
  explicit Writer(uint64_t seed) : rng_(seed) {
    for (int i = 0; i < 120; ++i) {
      ops_.push_back(fmt::format("aten::generated_operator_{}{}", i, std::string(i % 40, 'x')));
    }
    for (int i = 0; i < 80; ++i) {
      kernels_.push_back(
          fmt::format("void gen::kernel_{}<{}>(int, float const*, {{lambda(int)#1}})", i,
                      std::string(i * i / 8, 't')));
    }
  }

  GeneratedTrace generate(size_t bytes) {
    GeneratedTrace out;
    out.text.reserve(bytes + (size_t{64} << 10));
    out.text =
        "{\n  \"schemaVersion\": 1,\n  \"deviceProperties\": [\n    {\n      \"id\": 0, "
        "\"name\": \"Generated\", \"numSms\": 132\n    }\n  ],\n"
        "  \"distributedInfo\": {\"backend\": \"nccl\", \"rank\": 3, \"world_size\": 8},\n"
        "  \"traceEvents\": [\n";
    while (out.text.size() < bytes) operation(out);
    out.text += metadata() + "  ],\n  \"traceName\": \"gen_ep8.json\"\n}\n";
    return out;
  }

 private:
  auto to(GeneratedTrace& out) { return std::back_inserter(out.text); }

  // An operator with its calls; every fourth launches a kernel.
  void operation(GeneratedTrace& out) {
    host_us_ += 3 + rng_.below(20);
    fmt::format_to(to(out),
                   "  {{\n    \"ph\": \"X\", \"cat\": \"cpu_op\", \"name\": \"{}\", \"pid\": 1166, "
                   "\"tid\": {},\n    \"ts\": {}, \"dur\": {},\n    \"args\": {{\n      "
                   "\"External id\": {},\"Ev Idx\": {}{}\n    }}\n  }},\n",
                   ops_[rng_.below(ops_.size())], rng_.chance(0.7) ? 1166 : 2571, host_us_,
                   20 + rng_.below(60), id_, id_ / 2,
                   rng_.chance(0.13)
                       ? fmt::format(", \"Fwd thread id\": 1, \"Sequence number\": {}", id_ / 7)
                       : "");
    ++out.rows;
    runtime(out);
    if (rng_.chance(0.22)) kernel(out);
  }

  void runtime(GeneratedTrace& out) {
    ++id_;
    host_us_ += 1 + rng_.below(4);
    fmt::format_to(
        to(out),
        "  {{\n    \"ph\": \"X\", \"cat\": \"cuda_runtime\", \"name\": \"{}\", \"pid\": "
        "1166, \"tid\": 1166,\n    \"ts\": {}, \"dur\": {},\n    \"args\": {{\n      "
        "\"External id\": {},\n      \"cbid\": 211, \"correlation\": {}\n    }}\n  }},\n",
        rng_.chance(0.5) ? "cudaLaunchKernelExC" : "cudaEventQuery", host_us_, rng_.below(9), id_,
        id_);
    fmt::format_to(
        to(out),
        "  {{\n    \"ph\": \"{}\", \"id\": {}, \"pid\": 1166, \"tid\": 1166, \"ts\": {},\n"
        "    \"cat\": \"ac2g\", \"name\": \"ac2g\"{}\n  }},\n",
        rng_.chance(0.25) ? 's' : 'f', id_, host_us_, rng_.chance(0.75) ? ", \"bp\": \"e\"" : "");
    ++out.rows;
    ++out.flows;
  }

  void kernel(GeneratedTrace& out) {
    const uint64_t stream = rng_.chance(0.8) ? 7 : 20 + rng_.below(4);
    uint64_t& at = stream_us_[stream];
    at = std::max(at, host_us_ + 5000) + rng_.below(3);
    const uint64_t duration = rng_.below(30);
    const uint64_t which = rng_.below(kernels_.size());
    // A kernel is launched in a few ways only.
    const uint64_t way = which * 4 + rng_.below(4);
    fmt::format_to(
        to(out),
        "  {{\n    \"ph\": \"X\", \"cat\": \"kernel\", \"name\": \"{}\", \"pid\": 0, \"tid\": {},\n"
        "    \"ts\": {}, \"dur\": {},\n    \"args\": {{\n      \"External id\": {},\n"
        "      \"queued\": 0, \"device\": 0, \"context\": 1,\n"
        "      \"stream\": {}, \"correlation\": {},\n      \"registers per thread\": {},\n"
        "      \"shared memory\": {},\n      \"blocks per SM\": {:.6f},\n"
        "      \"warps per SM\": {:.6f},\n      \"grid\": [{}, 1, 1],\n"
        "      \"block\": [{}, 1, 1],\n      \"est. achieved occupancy %\": {}\n    }}\n  }},\n",
        kernels_[which], stream, at, duration, id_, stream, id_, 16 + way % 200, 1024 * (way % 50),
        static_cast<double>(way) * 0.37, static_cast<double>(way) * 1.11, 1 + way * 32,
        32 << way % 5, way % 101);
    fmt::format_to(to(out),
                   "  {{\n    \"ph\": \"f\", \"id\": {}, \"pid\": 0, \"tid\": {}, \"ts\": {},\n"
                   "    \"cat\": \"ac2g\", \"name\": \"ac2g\", \"bp\": \"e\"\n  }},\n",
                   id_, stream, at);
    at += duration;
    ++out.rows;
    ++out.kernels;
    ++out.flows;
  }

  static std::string metadata() {
    return "  {\n    \"name\": \"process_name\", \"ph\": \"M\", \"ts\": 1740461679470692, \"pid\": "
           "1166, \"tid\": 0,\n    \"args\": {\n      \"name\": \"python3\"\n    }\n  },\n"
           "  {\n    \"name\": \"thread_name\", \"ph\": \"M\", \"ts\": 1740461679470692, \"pid\": "
           "0, \"tid\": 7,\n    \"args\": {\n      \"name\": \"stream 7 \"\n    }\n  }\n";
  }

  Rng rng_;
  std::vector<std::string> ops_, kernels_;
  uint64_t host_us_ = 1'740'461'679'470'692;
  uint64_t stream_us_[32] = {};
  uint64_t id_ = 1000;
};

}  // namespace

GeneratedTrace TraceGenerator::generate(size_t bytes) const {
  return Writer(seed_).generate(bytes);
}

}  // namespace hadal::trace
