#include "trace/rules.h"

#include <utility>

#include "base/config.h"
#include "base/files.h"

namespace hadal::trace {
namespace {

constexpr char lower(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
}

constexpr auto kTransfer = Role::kTransfer;
constexpr auto kBarrier = Role::kBarrier;
constexpr auto kLayout = Role::kLayout;

// Sources of the names: the kernels' own code bases; DeepEP's are seen under deep_ep:: (public) and
// dpsk::ep:: (in the traces that DeepSeek published). Barriers come before the transfers whose
// names they contain.
std::vector<Rule> built_in_rules() {
  constexpr auto kComm = Class::kCommunication;
  return {
      {"get_dispatch_layout", Class::kCompute, kLayout, "DeepEP"},
      {"internode::notify_dispatch", kComm, kBarrier, "DeepEP"},
      {"intranode::notify_dispatch", kComm, kBarrier, "DeepEP"},
      {"cached_notify", kComm, kBarrier, "DeepEP"},
      {"intranode::barrier", kComm, kBarrier, "DeepEP"},
      {"internode_ll::clean_low_latency_buffer", kComm, kBarrier, "DeepEP"},
      {"internode::dispatch", kComm, kTransfer, "DeepEP"},
      {"internode::combine", kComm, kTransfer, "DeepEP"},
      {"intranode::dispatch", kComm, kTransfer, "DeepEP"},
      {"intranode::combine", kComm, kTransfer, "DeepEP"},
      {"internode_ll::", kComm, kTransfer, "DeepEP"},
      {"dispatch_ll", kComm, kTransfer, "DeepEP"},
      {"combine_ll", kComm, kTransfer, "DeepEP"},
      {"nccl*barrier", kComm, kBarrier, "NCCL"},
      {"nccl", kComm, kTransfer, "NCCL"},
      {"rccl", kComm, kTransfer, "RCCL"},
      {"nvshmem*barrier", kComm, kBarrier, "NVSHMEM"},
      {"nvshmem*sync", kComm, kBarrier, "NVSHMEM"},
      {"nvshmem", kComm, kTransfer, "NVSHMEM"},
      {"cross_device_reduce", kComm, kTransfer, "custom all-reduce"},
      {"one_shot_all", kComm, kTransfer, "custom all-reduce"},
      {"two_shot_all", kComm, kTransfer, "custom all-reduce"},
      {"oneshotallreduce", kComm, kTransfer, "custom all-reduce"},
      {"twoshotallreduce", kComm, kTransfer, "custom all-reduce"},
      {"allreduce_fusion", kComm, kTransfer, "fused all-reduce"},
      {"multimem", kComm, kTransfer, "multimem"},
      {"pplx", kComm, kTransfer, "PPLX"},
      {"mscclpp", kComm, kTransfer, "MSCCL++"},
      {"msccl", kComm, kTransfer, "MSCCL"},
      {"oneccl", kComm, kTransfer, "oneCCL"},
      {"hccl", kComm, kTransfer, "HCCL"},
  };
}

struct RulesFile {
  std::vector<std::string> compute, barrier, layout, transfer, memory;

  void visit(auto& v) {
    v("compute", compute, "kernels that compute, whatever the built-in rules say");
    v("barrier", barrier, "communication kernels that wait for other ranks");
    v("layout", layout, "kernels that prepare a transfer on this rank alone");
    v("transfer", transfer, "communication kernels that move data between ranks");
    v("memory", memory, "kernels that only copy or fill memory of this GPU");
  }
};

// Does `pattern`, without anchors, match a whole prefix of `text`? If `to_end`, all of it. Keeps
// the last `*` to go back to, which suffices: an earlier one could only match more.
bool matches_from(std::string_view pattern, std::string_view text, bool to_end) {
  size_t p = 0, t = 0;
  size_t star = std::string_view::npos, star_text = 0;
  for (;;) {
    if (p == pattern.size() && (!to_end || t == text.size())) return true;
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      star_text = t;
    } else if (t < text.size() && p < pattern.size() &&
               (pattern[p] == '?' || lower(pattern[p]) == lower(text[t]))) {
      ++p, ++t;
    } else if (star != std::string_view::npos && star_text < text.size()) {
      p = star + 1;
      t = ++star_text;
    } else {
      return false;
    }
  }
}

}  // namespace

std::string_view name(Class kind) {
  constexpr std::string_view kNames[] = {"compute", "communication", "memory"};
  return kNames[static_cast<size_t>(kind)];
}

std::string_view name(Role role) {
  constexpr std::string_view kNames[] = {"none", "transfer", "barrier", "layout"};
  return kNames[static_cast<size_t>(role)];
}

bool matches(std::string_view pattern, std::string_view text) {
  const bool from_start = pattern.starts_with('^');
  if (from_start) pattern.remove_prefix(1);
  const bool to_end = pattern.ends_with('$');
  if (to_end) pattern.remove_suffix(1);
  // "Somewhere in the name" is a star in front: one pass with one point to go back to.
  const std::string anywhere = from_start ? std::string(pattern) : "*" + std::string(pattern);
  return matches_from(anywhere, text, to_end);
}

Rules::Rules() : rules_(built_in_rules()) {}

Result<Rules> Rules::read(const std::string& path) {
  const std::string text = TRY(read_file(path, int64_t{1} << 20));
  return parse(text, path);
}

Result<Rules> Rules::parse(std::string_view toml, const std::string& path) {
  RulesFile file;
  TRY(apply_toml(config_fields(file), toml, path));
  std::vector<Rule> rules;
  const auto add = [&rules](const std::vector<std::string>& patterns, Class kind, Role role) {
    for (const std::string& pattern : patterns) rules.push_back({pattern, kind, role, "custom"});
  };
  add(file.compute, Class::kCompute, Role::kNone);
  add(file.barrier, Class::kCommunication, Role::kBarrier);
  add(file.layout, Class::kCompute, Role::kLayout);
  add(file.transfer, Class::kCommunication, Role::kTransfer);
  add(file.memory, Class::kMemory, Role::kNone);
  for (const Rule& rule : rules) {
    if (rule.pattern.find_first_not_of("^$*?") == std::string::npos) {
      return fail(Code::kInvalidArgument,
                  path + ": the pattern \"" + rule.pattern +
                      "\" matches every kernel; it must contain some of a kernel's name");
    }
  }
  Rules result;
  result.rules_.insert(result.rules_.begin(), rules.begin(), rules.end());
  return result;
}

Classified Rules::classify(std::string_view kernel_name) const {
  for (size_t i = 0; i < rules_.size(); ++i) {
    const Rule& rule = rules_[i];
    if (matches(rule.pattern, kernel_name)) {
      return {rule.kind, rule.role, rule.library, static_cast<int>(i)};
    }
  }
  return {};
}

}  // namespace hadal::trace
