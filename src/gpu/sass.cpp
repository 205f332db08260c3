#include "gpu/sass.h"

#include <array>
#include <cctype>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <utility>
#include <vector>

#include <fmt/core.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/files.h"

namespace hadal::gpu {
namespace {

/// A folder of our own, removed at the end.
class Scratch {
 public:
  static Result<Scratch> make() {
    std::error_code error;
    std::string pattern = std::filesystem::temp_directory_path(error).string() + "/hadal-XXXXXX";
    if (error || ::mkdtemp(pattern.data()) == nullptr) {
      return std::unexpected(os_error(errno, "cannot make a temporary folder"));
    }
    return Scratch(pattern);
  }
  Scratch(Scratch&& other) noexcept : path_(std::exchange(other.path_, {})) {}
  Scratch& operator=(Scratch&&) = delete;
  ~Scratch() {
    std::error_code error;
    if (!path_.empty()) std::filesystem::remove_all(path_, error);
  }
  const std::string& path() const { return path_; }

 private:
  explicit Scratch(std::string path) : path_(std::move(path)) {}
  std::string path_;
};

std::vector<std::string> folders_of_programs() {
  std::vector<std::string> folders;
  const char* path = std::getenv("PATH");
  std::string_view rest = path == nullptr ? "" : path;
  while (!rest.empty()) {
    const size_t end = rest.find(':');
    folders.emplace_back(rest.substr(0, end));
    rest.remove_prefix(end == rest.npos ? rest.size() : end + 1);
  }
  if (const char* home = std::getenv("CUDA_HOME")) folders.push_back(std::string(home) + "/bin");
  folders.emplace_back("/usr/local/cuda/bin");
  return folders;
}

/// For sh: the text between single quotes.
std::string shell_quoted(std::string_view text) {
  std::string out = "'";
  for (const char c : text) out += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return out + "'";
}

}  // namespace

Result<std::string> find_disassembler() {
  for (const char* name : {"nvdisasm", "cuobjdump"}) {
    for (const std::string& folder : folders_of_programs()) {
      std::string path = fmt::format("{}/{}", folder, name);
      if (!folder.empty() && ::access(path.c_str(), X_OK) == 0) return path;
    }
  }
  return fail(Code::kUnsupported,
              "no nvdisasm or cuobjdump in PATH, $CUDA_HOME/bin or /usr/local/cuda/bin");
}

Result<std::string> disassemble(Bytes cubin, const std::string& program) {
  const Scratch scratch = TRY(Scratch::make());
  const std::string file = scratch.path() + "/kernel.cubin";
  TRY(write_file_atomically(file, cubin));
  const bool is_cuobjdump = program.ends_with("cuobjdump");
  const std::string command = fmt::format("{}{} {} 2>&1", shell_quoted(program),
                                          is_cuobjdump ? " -sass" : "", shell_quoted(file));
  std::FILE* const pipe = ::popen(command.c_str(), "re");
  if (pipe == nullptr)
    return std::unexpected(os_error(errno, fmt::format("cannot run {}", program)));
  std::string listing;
  std::array<char, 65536> buffer;
  while (const size_t got = std::fread(buffer.data(), 1, buffer.size(), pipe)) {
    listing.append(buffer.data(), got);
  }
  const int status = ::pclose(pipe);
  if (status != 0) {
    return fail(Code::kUnsupported, fmt::format("{} ends with {}: {}", program,
                                                WIFEXITED(status) ? WEXITSTATUS(status) : -1,
                                                listing.substr(0, listing.find('\n'))));
  }
  return listing;
}

int64_t count_instructions(std::string_view listing, std::string_view name) {
  const auto is_word = [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) || c == '_';
  };
  int64_t count = 0;
  for (size_t at = listing.find(name); at != listing.npos; at = listing.find(name, at + 1)) {
    const size_t end = at + name.size();
    // Names in symbols and labels have other letters, or a dot, in front.
    const bool begins = at == 0 || (!is_word(listing[at - 1]) && listing[at - 1] != '.');
    const bool ends = end == listing.size() || !is_word(listing[end]);
    count += begins && ends ? 1 : 0;
  }
  return count;
}

}  // namespace hadal::gpu
