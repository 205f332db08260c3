// The model file of DeepSeek's training trace: one layer of DeepSeek-V3 with 4096 tokens, its
// shared expert beside the routed ones, forward and backward, in the order of its launches.
#pragma once

#include <string_view>

namespace hadal::trace {

inline constexpr std::string_view kDeepSeekV3 = R"(
tokens = 4096
hidden = 7168
topk = 8
experts = 256
nodes = 4
gemms = [
  "attn(F) | 0 | tokens | 1536 | hidden",    # q_a
  "attn(F) | 1 | tokens | 576 | hidden",     # kv_a
  "attn(F) | 2 | tokens | 24576 | 1536",     # q_b
  "attn(F) | 3 | tokens | 32768 | 512",      # kv_b
  "attn(F) | 4 | tokens | hidden | 16384",   # o
  "attn(F) | 5 | tokens | 256 | hidden",     # router
  "mlp(B) | 0 | tokens | 2048 | hidden",     # shared expert
  "mlp(B) | 1 | rows | 2048 | hidden",
  "mlp(B) | 2 | rows | hidden | 4096",
  "mlp(B) | 3 | tokens | hidden | 4096",
  "mlp(W) | 0 | hidden | 2048 | tokens",
  "mlp(W) | 1-4 | hidden | 2048 | rows",     # four experts on this rank
  "mlp(W) | 5-8 | hidden | 4096 | rows",
  "mlp(W) | 9 | hidden | 4096 | tokens",
  "mlp(F) | 0 | tokens | 4096 | hidden",
  "mlp(F) | 1 | rows | 4096 | hidden",
  "mlp(F) | 2 | rows | hidden | 2048",
  "mlp(F) | 3 | tokens | hidden | 2048",
  "attn(B) | 0 | tokens | hidden | 256",
  "attn(B) | 1 | 256 | hidden | tokens",
  "attn(B) | 2 | tokens | 16384 | hidden",
  "attn(B) | 3 | tokens | 24576 | 1536",     # q_b again: recomputed
  "attn(B) | 4 | tokens | 32768 | 512",
  "attn(B) | 5 | tokens | 1536 | 24576",
  "attn(B) | 6 | tokens | 512 | 32768",
  "attn(B) | 7 | tokens | hidden | 576",
  "attn(B) | 8 | tokens | hidden | 1536",
  "attn(W) | 0 | 16384 | hidden | tokens",
  "attn(W) | 1 | 32768 | 512 | tokens",
  "attn(W) | 2 | 24576 | 1536 | tokens",
  "attn(W) | 3 | 576 | hidden | tokens",
  "attn(W) | 4 | 1536 | hidden | tokens",
]
)";

}  // namespace hadal::trace
