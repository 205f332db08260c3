// load() and parse(): from a Source to a Trace.
#include <algorithm>
#include <atomic>
#include <string>

#include <fmt/core.h>

#include "base/threads.h"
#include "trace/assemble.h"
#include "trace/chunk.h"
#include "trace/document.h"
#include "trace/header.h"
#include "trace/number.h"
#include "trace/scan.h"
#include "trace/trace.h"

namespace hadal::trace {
namespace {

// A chunk: long enough that its start and end do not matter, short enough to stay in a core's
// cache.
constexpr uint64_t kChunkBytes = uint64_t{1} << 20;

class Loader {
 public:
  Loader(Source& source, const std::string& path, const LoadOptions& options)
      : source_(source),
        options_(options),
        pool_(pool_options(options)),
        window_(source),
        tables_(static_cast<size_t>(pool_.size())) {
    trace_.path = path;
  }

  Result<Trace> run() {
    Result<> read = read_document();
    if (window_.error()) return std::unexpected(*window_.error());
    if (error_) return std::unexpected(std::move(*error_));
    TRY(finish_stream());
    if (!read) return std::unexpected(std::move(read).error());
    trace_.compression = source_.compression();
    trace_.file_bytes = source_.file_bytes();
    trace_.document_bytes = source_.size().value_or(window_.end_offset());
    if (trace_.health.truncated) trace_.health.truncated_at = trace_.document_bytes;
    if (!is_trace()) {
      return fail(Code::kCorrupt,
                  fmt::format("{}: not a trace: it has no traceEvents and no event", trace_.path));
    }
    apply_members(members_, trace_);
    if (trace_.rank < 0) trace_.rank = rank_of(trace_.path);
    uint8_t marks = 0;
    for (const Chunk& chunk : chunks_) marks |= chunk.marks;
    trace_.generation = generation(marks);
    Result<> assembled = in(trace_.path, assemble(chunks_, tables_, pool_, trace_));
    if (!assembled) return std::unexpected(std::move(assembled).error());
    return std::move(trace_);
  }

 private:
  static ThreadPool::Options pool_options(const LoadOptions& options) {
    ThreadPool::Options o;
    o.threads = std::clamp(options.threads, 0, ThreadPool::kThreadsMax);
    o.name = "trace";
    return o;
  }

  Result<> read_document() {
    uint64_t at = 0;
    while (window_.grow(kReadBytes) && window_.end_offset() < kReadBytes) continue;
    if (std::string_view(window_.begin(), 3) == "\xef\xbb\xbf") at = 3;
    const bool any = skip_separators(window_, at);
    const char first = any ? *window_.at(at) : '\0';
    if (first != '[' && first != '{') {
      return fail(Code::kCorrupt,
                  any ? fmt::format("{}: not a trace: JSON begins with '{{' or '[', and this with "
                                    "the byte 0x{:02x}",
                                    trace_.path, static_cast<unsigned char>(first))
                      : fmt::format("{}: not a trace: the file is empty", trace_.path));
    }
    is_array_ = first == '[';
    ++at;
    bool in_events = is_array_;
    for (;;) {
      if (!in_events) in_events = read_members(at);
      if (!in_events) return {};
      if (!read_events_from(at)) return {};
      in_events = false;
    }
  }

  // A compressed stream that is broken at its start is no trace; later it is a truncated one.
  Result<> finish_stream() {
    const std::string broken = source_.broken();
    if (broken.empty()) return {};
    if (window_.end_offset() == 0) {
      return fail(Code::kCorrupt, fmt::format("{}: {} at its start", trace_.path, broken));
    }
    trace_.health.truncated = true;
    lose(window_.end_offset(), broken.c_str());
    return {};
  }

  // Members from `at`; true if events follow, at `at`.
  bool read_members(uint64_t& at) {
    MembersEnd end = MembersEnd::kObjectEnd;
    if (!is_array_) end = scan_members(window_, at, members_);
    if (end == MembersEnd::kEvents) return true;
    if (end == MembersEnd::kDocumentEnd) {
      trace_.health.truncated = true;
      return false;
    }
    // What looked like the end of the array may have been the end of one inside of a broken event.
    const uint64_t stopped = at;
    const std::optional<uint64_t> next = find_event(window_, at);
    if (next || end == MembersEnd::kError) lose(stopped, "something between events");
    at = next.value_or(at);
    return next.has_value();
  }

  void lose(uint64_t offset, const char* reason) {
    ++trace_.health.lost_events;
    if (trace_.health.losses.size() < Health::kLossesListedMax) {
      trace_.health.losses.push_back({.offset = offset, .reason = reason});
    }
  }

  // Events from `at` to the end of their array; false at the end of the document.
  bool read_events_from(uint64_t& at) {
    const bool by_many = source_.random() && pool_.size() > 1;
    by_many ? parse_by_many(at) : parse_in_order(at);
    const Chunk& last = chunks_.back();
    at = last.stop;
    if (last.end == ChunkEnd::kArrayEnd) {
      if (by_many) window_.restart(at);
      ++at;
      return true;
    }
    // Chrome's format allows an array to go without its ']'.
    if (!is_array_ || last.cut_short) trace_.health.truncated = true;
    return false;
  }

  void parse_in_order(uint64_t at) {
    do {
      window_.discard_before(at);
      window_.grow(kReadBytes);  // at most one event is read twice
      const uint64_t boundary = std::max(window_.end_offset(), at + 1);
      chunks_.push_back(parse_chunk(window_, at, boundary, tables_[0], scratch_, options_));
      at = chunks_.back().stop;
      progress();
    } while (chunks_.back().end == ChunkEnd::kNext);
  }

  void progress() {
    if (options_.progress == nullptr) return;
    options_.progress(source_.random() ? window_.end_offset() : source_.file_bytes_read(),
                      source_.file_bytes());
  }

  // Cuts the document at guessed places, parses all chunks at once, and then goes from chunk to
  // chunk: one that begins where the last ended is right, any other is parsed again.
  void parse_by_many(uint64_t at);

  bool is_trace() const {
    for (const char* key : {"traceEvents", "schemaVersion", "deviceProperties", "displayTimeUnit",
                            "baseTimeNanoseconds", "traceName"}) {
      if (members_.contains(key)) return true;
    }
    uint64_t lost = trace_.health.lost_events;
    for (const Chunk& chunk : chunks_) {
      lost += chunk.lost_events;
      if (chunk.rows.size() + chunk.flows.size() + chunk.metadata.size() != 0) return true;
    }
    return is_array_ && lost == 0;
  }

  Generation generation(uint8_t marks) const {
    if ((marks & kMarkNewest) != 0) return Generation::kG4;
    if (members_.contains("baseTimeNanoseconds")) return Generation::kG3;
    if ((marks & kMarkOld) != 0) return Generation::kG1;
    if ((marks & kMarkKineto) != 0) return Generation::kG2;
    return Generation::kUnknown;
  }

  // "rank3", "rank_3" or "rank-3" in the file's name.
  static int rank_of(std::string_view path) {
    const std::string_view name = path.substr(path.rfind('/') + 1);
    for (size_t at = name.find("rank"); at != std::string_view::npos; at = name.find("rank", at)) {
      at += 4;
      size_t digits = at;
      if (digits < name.size() && (name[digits] == '_' || name[digits] == '-')) ++digits;
      size_t end = digits;
      while (end < name.size() && name[end] >= '0' && name[end] <= '9') ++end;
      const auto rank = parse_unsigned(name.substr(digits, end - digits));
      if (rank && *rank <= INT32_MAX) return static_cast<int>(*rank);
    }
    return -1;
  }

  Source& source_;
  const LoadOptions& options_;
  ThreadPool pool_;
  Window window_;
  std::vector<Tables> tables_;  // by worker
  Events scratch_;
  std::vector<Chunk> chunks_;
  Members members_;
  bool is_array_ = false;
  std::optional<Error> error_;
  Trace trace_;
};

void Loader::parse_by_many(uint64_t at) {
  const uint64_t size = source_.size().value_or(0);
  const size_t n = at < size ? (size - at + kChunkBytes - 1) / kChunkBytes : 1;
  const auto boundary = [&](size_t c) { return c == n ? UINT64_MAX : at + c * kChunkBytes; };
  std::vector<std::optional<Chunk>> guessed(n);
  std::vector<Events> scratch(tables_.size());
  std::vector<Window> windows(tables_.size(), Window(source_));
  std::atomic<uint64_t> done = 0;
  pool_.parallel_for_dynamic(static_cast<int64_t>(n), 1, [&](int64_t begin, int64_t end, int w) {
    for (auto c = static_cast<size_t>(begin); c < static_cast<size_t>(end); ++c) {
      Window& window = windows[static_cast<size_t>(w)];
      window.restart(boundary(c) - std::min<uint64_t>(boundary(c), Window::kLookBehind));
      window.grow(kChunkBytes + kLookAhead);
      const std::optional<uint64_t> start =
          c == 0 ? at : find_event(window, boundary(c), boundary(c + 1));
      if (start) {
        guessed[c] = parse_chunk(window, *start, boundary(c + 1), tables_[static_cast<size_t>(w)],
                                 scratch[static_cast<size_t>(w)], options_);
        guessed[c]->worker = w;
      }
      done += kChunkBytes;
      if (w == 0 && options_.progress != nullptr) {
        options_.progress(std::min<uint64_t>(done, size), size);
      }
    }
  });
  for (Window& window : windows) {
    if (window.error()) error_ = window.error();
  }
  for (size_t c = 0; c < n; ++c) {
    if (boundary(c + 1) <= at) continue;  // the chunk before went on beyond this one
    if (!guessed[c] || guessed[c]->start != at) {
      window_.restart(at - std::min<uint64_t>(at, Window::kLookBehind));
      window_.grow(kChunkBytes + kLookAhead);
      guessed[c] = parse_chunk(window_, at, boundary(c + 1), tables_[0], scratch[0], options_);
    }
    chunks_.push_back(std::move(*guessed[c]));
    at = chunks_.back().stop;
    if (chunks_.back().end != ChunkEnd::kNext) return;
  }
}

}  // namespace

Result<Trace> load(const std::string& path, const LoadOptions& options) {
  const std::unique_ptr<Source> source = TRY(open_source(path));
  return Loader(*source, path, options).run();
}

Result<Trace> parse(std::string_view document, const std::string& path,
                    const LoadOptions& options) {
  const std::unique_ptr<Source> source = open_text(document);
  return Loader(*source, path, options).run();
}

const Device* Trace::device(int id) const {
  const auto found = std::ranges::find(devices, id, &Device::id);
  return found == devices.end() ? nullptr : &*found;
}

bool Health::clean() const {
  return lost_events == 0 && losses.empty() && !truncated && ignored_phases == 0 &&
         unmatched_begins == 0 && unmatched_ends == 0 && zero_timestamps == 0 &&
         clipped_durations == 0 && replaced_bytes == 0;
}

}  // namespace hadal::trace
