// Names of kernels: what to show of them, and what kind of work they say they are.
#include <algorithm>
#include <array>
#include <cctype>

#include "trace/kernels.h"
#include "trace/rules.h"

namespace hadal::trace {
namespace {

constexpr size_t kShownMax = 60;

// Wrappers: what the kernel does stands in their template arguments.
constexpr std::array<std::string_view, 8> kWrappers = {"device_kernel",
                                                       "elementwise_kernel",
                                                       "vectorized_elementwise_kernel",
                                                       "reduce_kernel",
                                                       "index_elementwise_kernel",
                                                       "unrolled_elementwise_kernel",
                                                       "elementwise_kernel_with_index",
                                                       "_scatter_gather_elementwise_kernel"};

// Types and plumbing inside of those arguments that say nothing.
constexpr std::array<std::string_view, 26> kPlumbing = {"gpu_kernel_impl",
                                                        "gpu_kernel_impl_nocast",
                                                        "BinaryFunctor",
                                                        "AUnaryFunctor",
                                                        "BUnaryFunctor",
                                                        "func_wrapper_t",
                                                        "ReduceOp",
                                                        "binary_internal",
                                                        "native",
                                                        "at",
                                                        "detail",
                                                        "Array",
                                                        "c10",
                                                        "float",
                                                        "unsigned",
                                                        "int",
                                                        "long",
                                                        "bool",
                                                        "char",
                                                        "false",
                                                        "true",
                                                        "double",
                                                        "BFloat16",
                                                        "Half",
                                                        "OpaqueType",
                                                        "bfloat16_t"};

bool is_identifier(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_' || c == '~';
}

/// The position after the bracket that closes the one at `open`, or the end.
size_t after_bracket(std::string_view text, size_t open) {
  int depth = 0;
  for (size_t i = open; i < text.size(); ++i) {
    const char c = text[i];
    if (c == '<' || c == '(' || c == '{' || c == '[') ++depth;
    if ((c == '>' && (i == 0 || text[i - 1] != '-')) || c == ')' || c == '}' || c == ']') {
      if (--depth == 0) return i + 1;
    }
  }
  return text.size();
}

struct Identifier {
  std::string_view name;
  size_t end = 0;  // in the whole text
};

/// The last identifier of the qualified name that the text begins with (after a return type), and
/// where it ends: before its template arguments or parameters.
Identifier innermost(std::string_view text) {
  Identifier last;
  for (size_t i = 0; i < text.size();) {
    if (is_identifier(text[i])) {
      const size_t begin = i;
      while (i < text.size() && is_identifier(text[i])) ++i;
      last = {text.substr(begin, i - begin), i};
      if (last.name == "operator") return last;
    } else if (text[i] == '<') {
      const size_t close = after_bracket(text, i);
      // Arguments of a namespace-like qualifier are skipped; those of the name itself end it.
      if (close >= text.size() || text[close] != ':') return last;
      i = close;
    } else if (text[i] == '(' && text.substr(i).starts_with("(anonymous namespace)")) {
      i += std::string_view("(anonymous namespace)").size();
    } else if (text[i] == '(') {
      return last;
    } else {
      ++i;
    }
  }
  return last;
}

/// The first name inside of template arguments that says what is done.
std::string_view telling_argument(std::string_view arguments) {
  for (size_t i = 0; i < arguments.size();) {
    if (!is_identifier(arguments[i])) {
      ++i;
      continue;
    }
    const size_t begin = i;
    while (i < arguments.size() && is_identifier(arguments[i])) ++i;
    const std::string_view word = arguments.substr(begin, i - begin);
    const bool number = std::isdigit(static_cast<unsigned char>(word.front())) != 0;
    const bool qualifier = arguments.substr(i).starts_with("::");
    if (!number && !qualifier && std::ranges::find(kPlumbing, word) == kPlumbing.end()) return word;
  }
  return {};
}

struct FamilyRule {
  std::string_view pattern, family;
};
// The first that matches wins; sources of the names: PyTorch, cuBLAS, CUTLASS, FlashAttention,
// DeepGEMM, Transformer Engine, Triton's inductor.
constexpr std::array<FamilyRule, 45> kFamilies = {{
    {"memcpy", "memory"},
    {"memset", "memory"},
    {"flash", "attention"},
    {"fmha", "attention"},
    {"attention", "attention"},
    {"attn", "attention"},
    {"mla_", "attention"},
    {"softmax", "softmax"},
    {"transpose", "cast"},
    {"cast_", "cast"},
    {"_cast", "cast"},
    {"quant", "cast"},
    {"expand_to_fused", "permute"},
    {"reduce_fused", "permute"},
    {"permute", "permute"},
    {"get_fused_mapping", "permute"},
    {"gemm", "gemm"},
    {"cutlass::*Gemm", "gemm"},
    {"cublas", "gemm"},
    {"nvjet", "gemm"},
    {"matmul", "gemm"},
    {"splitKreduce", "gemm"},
    {"conv", "convolution"},
    {"layer_norm", "norm"},
    {"layernorm", "norm"},
    {"rms_norm", "norm"},
    {"rmsnorm", "norm"},
    {"batch_norm", "norm"},
    {"rotary", "rope"},
    {"rope", "rope"},
    {"swiglu", "activation"},
    {"silu", "activation"},
    {"gelu", "activation"},
    {"topk", "sort"},
    {"sort", "sort"},
    {"scatter_gather", "index"},
    {"index", "index"},
    {"embedding", "index"},
    {"distribution", "random"},
    {"philox", "random"},
    {"multi_tensor_apply", "optimizer"},
    {"adam", "optimizer"},
    {"direct_copy", "copy"},
    {"copy", "copy"},
    {"reduce", "reduce"},
}};

}  // namespace

std::string short_name(std::string_view name) {
  const size_t parameters = name.find("(anonymous namespace)");
  std::string_view body = name;
  if (parameters == std::string_view::npos && body.starts_with("void ")) body.remove_prefix(5);
  const Identifier found = innermost(body);
  std::string shown(found.name.empty() ? body : found.name);
  if (std::ranges::find(kWrappers, found.name) != kWrappers.end() && found.end < body.size() &&
      body[found.end] == '<') {
    const size_t close = after_bracket(body, found.end);
    const std::string_view arguments = body.substr(found.end + 1, close - found.end - 1);
    const std::string_view argument = telling_argument(arguments);
    // "GemmKernel" alone would be one name for many kernels: keep its enclosing scope.
    if (const size_t at = arguments.find(argument); !argument.empty()) {
      const std::string_view before = arguments.substr(0, at);
      if (found.name == "device_kernel" && before.ends_with("::")) {
        const size_t scope = before.substr(0, before.size() - 2).find_last_of(": <,");
        shown = std::string(arguments.substr(
            scope == std::string_view::npos ? 0 : scope + 1,
            at + argument.size() - (scope == std::string_view::npos ? 0 : scope + 1)));
      } else {
        shown = std::string(argument);
      }
    }
  }
  if (shown.size() > kShownMax) {
    size_t cut = kShownMax - 3;
    while (cut > 0 && (static_cast<unsigned char>(shown[cut]) & 0xC0) == 0x80) --cut;  // UTF-8
    shown.resize(cut);
    shown += "...";
  }
  return shown;
}

std::string_view family(std::string_view kernel_name) {
  for (const FamilyRule& rule : kFamilies) {
    if (matches(rule.pattern, kernel_name)) return rule.family;
  }
  return kernel_name.find("elementwise") != std::string_view::npos ||
                 kernel_name.find("Functor") != std::string_view::npos
             ? "elementwise"
             : "other";
}

}  // namespace hadal::trace
