#include "gpu/compile_report.h"

#include <charconv>
#include <optional>

namespace hadal::gpu {
namespace {

/// Calls f(line) for every line.
template <typename Fn>
void each_line(std::string_view text, Fn&& f) {
  while (!text.empty()) {
    const size_t end = text.find('\n');
    std::string_view line = text.substr(0, end);
    if (line.ends_with('\r')) line.remove_suffix(1);
    f(line);
    if (end == text.npos) break;
    text.remove_prefix(end + 1);
  }
}

/// The number that stands before `unit`: number_before("8 bytes stack frame, ...", " bytes stack
/// frame") is 8.
std::optional<int64_t> number_before(std::string_view line, std::string_view unit) {
  const size_t end = line.find(unit);
  if (end == line.npos) return std::nullopt;
  size_t begin = end;
  while (begin > 0 && line[begin - 1] >= '0' && line[begin - 1] <= '9') --begin;
  int64_t value = 0;
  const auto parsed = std::from_chars(line.data() + begin, line.data() + end, value);
  if (parsed.ec != std::errc() || begin == end) return std::nullopt;
  return value;
}

int int_before(std::string_view line, std::string_view unit, int otherwise) {
  const std::optional<int64_t> value = number_before(line, unit);
  return value && *value <= INT32_MAX ? static_cast<int>(*value) : otherwise;
}

/// What stands between quotes: "Compiling entry function 'f' for 'sm_90a'" gives f.
std::string_view between_quotes(std::string_view line) {
  const size_t open = line.find('\'');
  if (open == line.npos) return {};
  const size_t close = line.find('\'', open + 1);
  return close == line.npos ? std::string_view{} : line.substr(open + 1, close - open - 1);
}

/// "(C7514) ..." of a line, if it is one of the notes that count.
std::string_view note(std::string_view line) {
  const size_t at = line.find("(C75");
  if (at == line.npos || line.size() < at + 7 || line[at + 6] != ')') return {};
  const char tens = line[at + 4], ones = line[at + 5];
  const bool counts = (tens == '0' && ones == '8') || (tens == '1' && ones >= '0' && ones <= '9');
  return counts ? line.substr(at) : std::string_view{};
}

/// The sum of "592 bytes cmem[0], 8 bytes cmem[2]".
int64_t constant_bytes(std::string_view line) {
  int64_t sum = 0;
  for (size_t at = line.find(" bytes cmem"); at != line.npos; at = line.find(" bytes cmem")) {
    sum += number_before(line, " bytes cmem").value_or(0);
    line.remove_prefix(at + 1);
  }
  return sum;
}

}  // namespace

int64_t CompileReport::spill_bytes() const {
  int64_t sum = 0;
  for (const EntryUsage& entry : entries) sum += entry.spill_store_bytes + entry.spill_load_bytes;
  return sum;
}

CompileReport parse_compile_log(std::string_view log) {
  CompileReport report;
  report.log = log;
  bool in_entry = false;  // else the lines are of a device function, or of none
  each_line(log, [&](std::string_view line) {
    if (!line.starts_with("ptxas")) return;
    if (const std::string_view found = note(line); !found.empty()) report.notes.emplace_back(found);
    if (line.find("Compiling entry function") != line.npos) {
      report.entries.emplace_back().name = between_quotes(line);
      in_entry = true;
      return;
    }
    constexpr std::string_view kProperties = "Function properties for ";
    if (const size_t at = line.find(kProperties); at != line.npos) {
      in_entry = !report.entries.empty() &&
                 line.substr(at + kProperties.size()) == report.entries.back().name;
      return;
    }
    if (report.entries.empty()) return;
    EntryUsage& entry = report.entries.back();
    if (in_entry) {
      entry.stack_bytes = int_before(line, " bytes stack frame", entry.stack_bytes);
      entry.spill_store_bytes = int_before(line, " bytes spill stores", entry.spill_store_bytes);
      entry.spill_load_bytes = int_before(line, " bytes spill loads", entry.spill_load_bytes);
    }
    if (line.find(" Used ") == line.npos) return;
    entry.registers = int_before(line, " registers", entry.registers);
    entry.barriers = int_before(line, " barriers", entry.barriers);
    entry.shared_bytes = number_before(line, " bytes smem").value_or(entry.shared_bytes);
    entry.constant_bytes = constant_bytes(line);
  });
  return report;
}

std::string first_error(std::string_view log) {
  std::string_view first, error;
  each_line(log, [&](std::string_view line) {
    if (first.empty()) first = line;
    const bool is_error = line.find("error") != line.npos || line.find("fatal") != line.npos;
    if (error.empty() && is_error) error = line;
  });
  return std::string(error.empty() ? first : error);
}

}  // namespace hadal::gpu
