// What a kernel is for, told by its name: computation, communication and its role, or memory.
//
// Why not the prefix "nccl". DeepEP, NVSHMEM, custom all-reduce, MSCCL and the rest have names of
// their own, and a tool that looks for "nccl" finds no communication in the traces of DeepSeek-V3.
// And not all of a communication kernel is transfer: notify_dispatch and its kind hold the barrier
// between ranks, and their duration is the lateness of others. So a rule gives a role as well.
//
// A rule is a glob over the kernel's name: `*` any text, `?` one character, letters of either case
// match; it must match somewhere in the name, so "nccl" means "*nccl*"; '^' at the start and '$' at
// the end anchor it. The first rule that matches wins; user rules come before the built-in ones;
// without a match a kernel is computation. Copies and memsets are memory whatever their name.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace hadal::trace {

enum class Class : uint8_t { kCompute, kCommunication, kMemory };
enum class Role : uint8_t {
  kNone,      // has nothing to do with communication
  kTransfer,  // moves data between ranks
  kBarrier,   // waits for other ranks
  kLayout,    // prepares a transfer on this rank alone; computes, so its class is compute
};
std::string_view name(Class kind);  // "compute", "communication", "memory"
std::string_view name(Role role);   // "none", "transfer", "barrier", "layout"

struct Rule {
  std::string pattern;
  Class kind = Class::kCompute;
  Role role = Role::kNone;
  std::string library;  // "DeepEP", "NCCL", ...; "custom" for rules of a file
};

struct Classified {
  Class kind = Class::kCompute;
  Role role = Role::kNone;
  std::string_view library;  // lives as long as the Rules
  int rule = -1;             // index into rules(); -1: no rule matched
};

class Rules {
 public:
  /// The built-in rules: DeepEP (also under its internal names), NCCL, RCCL, NVSHMEM, HCCL, oneCCL,
  /// MSCCL, PPLX, custom and fused all-reduce, multimem.
  Rules();
  /// A TOML file with lists of patterns, tried before the built-in rules, in this order:
  ///   compute = ["^my_gemm"]           # not communication, whatever the built-in rules say
  ///   barrier = ["my_barrier"]
  ///   layout = ["count_tokens"]
  ///   transfer = ["my_all_to_all"]
  ///   memory = ["my_memcpy_kernel"]
  static Result<Rules> read(const std::string& path);
  static Result<Rules> parse(std::string_view toml, const std::string& path);

  const std::vector<Rule>& rules() const { return rules_; }
  /// Of a kernel's name. Linear in the name for each rule; call it once per distinct name.
  Classified classify(std::string_view kernel_name) const;

 private:
  std::vector<Rule> rules_;
};

/// Does `pattern` (see above) match `text`?
bool matches(std::string_view pattern, std::string_view text);

}  // namespace hadal::trace
