#include "gpu/compiler.h"

#include <algorithm>
#include <array>

#include <fmt/core.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/profiler.h"

namespace hadal::gpu {
namespace {

constexpr std::array kOptions = {"--gpu-architecture=sm_90a", "--std=c++20", "--ptxas-options=-v"};

/// Part of every name: a change of what content_hash() covers, or of what the kernels' launches
/// expect of them, raises it.
constexpr uint32_t kHashVersion = 1;

void skip_blanks(std::string_view& line) {
  while (!line.empty() && (line[0] == ' ' || line[0] == '\t')) line.remove_prefix(1);
}

/// The name in `#include "name"`, or nothing.
std::string_view included_name(std::string_view line) {
  skip_blanks(line);
  if (!line.starts_with('#')) return {};
  line.remove_prefix(1);
  skip_blanks(line);
  if (!line.starts_with("include")) return {};
  line.remove_prefix(7);
  skip_blanks(line);
  if (!line.starts_with('"')) return {};
  line.remove_prefix(1);
  const size_t end = line.find('"');
  return end == line.npos ? std::string_view{} : line.substr(0, end);
}

void collect(std::string_view text, std::span<const EmbeddedHeader> headers,
             std::vector<EmbeddedHeader>& found) {
  while (!text.empty()) {
    const size_t end = text.find('\n');
    const std::string_view name = included_name(text.substr(0, end));
    text.remove_prefix(end == text.npos ? text.size() : end + 1);
    if (name.empty()) continue;
    const auto is_it = [name](const EmbeddedHeader& header) { return header.name == name; };
    const auto header = std::find_if(headers.begin(), headers.end(), is_it);
    if (header == headers.end()) continue;
    if (std::find_if(found.begin(), found.end(), is_it) != found.end()) continue;
    found.push_back(*header);
    collect(header->text, headers, found);
  }
}

/// Owns an nvrtcProgram.
class ProgramOwner {
 public:
  explicit ProgramOwner(const cuda::Nvrtc& nvrtc) : nvrtc_(nvrtc) {}
  ~ProgramOwner() {
    if (program_ != nullptr) nvrtc_.destroy_program(&program_);
  }
  ProgramOwner(const ProgramOwner&) = delete;
  ProgramOwner& operator=(const ProgramOwner&) = delete;

  cuda::Program get() const { return program_; }
  cuda::Program* out() { return &program_; }

 private:
  const cuda::Nvrtc& nvrtc_;
  cuda::Program program_ = nullptr;
};

std::string log_of(const cuda::Nvrtc& nvrtc, cuda::Program program) {
  size_t size = 0;  // the NUL at the end is counted
  if (nvrtc.log_size(program, &size) != cuda::kNvrtcSuccess || size <= 1) return {};
  std::string log(size, '\0');
  if (nvrtc.log(program, log.data()) != cuda::kNvrtcSuccess) return {};
  log.resize(size - 1);
  return log;
}

Error compile_error(const cuda::Nvrtc& nvrtc, int status, const std::string& name,
                    std::string_view log) {
  if (status == cuda::kNvrtcErrorCompilation) {
    return {Code::kInvalidArgument,
            fmt::format("kernel {} does not compile: {}", name, first_error(log))};
  }
  return {Code::kUnavailable, fmt::format("NVRTC {} fails on kernel {}: {}: {}", nvrtc.path, name,
                                          nvrtc.error_string(status), first_error(log))};
}

}  // namespace

std::span<const char* const> compile_options() {
  return kOptions;
}

std::vector<EmbeddedHeader> headers_of(std::string_view text,
                                       std::span<const EmbeddedHeader> headers) {
  std::vector<EmbeddedHeader> found;
  collect(text, headers, found);
  std::sort(found.begin(), found.end(),
            [](const EmbeddedHeader& a, const EmbeddedHeader& b) { return a.name < b.name; });
  return found;
}

Hash128 content_hash(const KernelSource& source, std::span<const EmbeddedHeader> headers) {
  std::vector<std::byte> content;
  Writer out(content);
  out.u32(kHashVersion);
  out.text(source.name);
  out.text(source.text);
  for (const EmbeddedHeader& header : headers_of(source.text, headers)) {
    out.text(header.name);
    out.text(header.text);
  }
  for (const char* option : kOptions) out.text(option);
  return hash_bytes_128(content);
}

Result<Compiler> Compiler::open(std::span<const std::string> candidates) {
  return Compiler(TRY(cuda::open_nvrtc(candidates)));
}

Result<Compiled> Compiler::compile(const KernelSource& source, std::string* log) const {
  const Profiler::Span span("nvrtc");
  const RealClock clock;
  const int64_t start_ns = clock.now_ns();
  const cuda::Nvrtc& nvrtc = *nvrtc_;
  // Texts of embedded headers end with a NUL; their names are copied to get one.
  const std::vector<EmbeddedHeader> headers = headers_of(source.text, embedded_headers());
  std::vector<std::string> names;
  for (const EmbeddedHeader& header : headers) names.emplace_back(header.name);
  std::vector<const char*> texts, name_pointers;
  for (size_t i = 0; i < headers.size(); ++i) {
    texts.push_back(headers[i].text.data());
    name_pointers.push_back(names[i].c_str());
  }

  ProgramOwner program(nvrtc);
  int status =
      nvrtc.create_program(program.out(), source.text.c_str(), (source.name + ".cu").c_str(),
                           static_cast<int>(headers.size()), texts.data(), name_pointers.data());
  if (status != cuda::kNvrtcSuccess) {
    return std::unexpected(compile_error(nvrtc, status, source.name, {}));
  }
  status = nvrtc.compile_program(program.get(), static_cast<int>(kOptions.size()), kOptions.data());
  const std::string said = log_of(nvrtc, program.get());
  if (log != nullptr) *log = said;
  size_t size = 0;
  if (status == cuda::kNvrtcSuccess) status = nvrtc.cubin_size(program.get(), &size);
  Compiled result;
  result.cubin.resize(size);
  if (status == cuda::kNvrtcSuccess) {
    status = nvrtc.cubin(program.get(), reinterpret_cast<char*>(result.cubin.data()));
  }
  if (status != cuda::kNvrtcSuccess) {
    return std::unexpected(compile_error(nvrtc, status, source.name, said));
  }
  result.report = parse_compile_log(said);
  result.report.time_ms = static_cast<double>(clock.now_ns() - start_ns) / kMillisecond;
  return result;
}

}  // namespace hadal::gpu
