// load() and parse(): from a Source to a Trace.
#include <algorithm>
#include <atomic>
#include <string>

#include <fmt/core.h>

#include "base/threads.h"
#include "trace/assemble.h"
#include "trace/chunk.h"
#include "trace/document.h"
#include "trace/document_reader.h"
#include "trace/header.h"
#include "trace/number.h"
#include "trace/trace.h"

namespace hadal::trace {
namespace {

// A chunk: long enough that its start and end do not matter, short enough to stay in a core's
// cache.
constexpr uint64_t kChunkBytes = uint64_t{1} << 20;

class Loader : public DocumentReader {
 public:
  Loader(Source& source, const std::string& path, const LoadOptions& options)
      : DocumentReader(source, path),
        options_(options),
        pool_(pool_options(options)),
        tables_(static_cast<size_t>(pool_.size())) {}

  Result<Trace> run() {
    TRY(read_document());
    if (error_) return std::unexpected(std::move(*error_));
    if (!is_trace()) {
      return fail(Code::kCorrupt,
                  fmt::format("{}: not a trace: it has no traceEvents and no event", path_));
    }
    Trace trace;
    trace.path = path_;
    trace.compression = source_.compression();
    trace.file_bytes = source_.file_bytes();
    trace.document_bytes = document_bytes_;
    trace.health = health_;
    apply_members(members_, trace);
    if (trace.rank < 0) trace.rank = rank_of(path_);
    trace.generation = generation();
    TRY(in(path_, assemble(chunks_, tables_, pool_, trace)));
    return trace;
  }

 private:
  static ThreadPool::Options pool_options(const LoadOptions& options) {
    ThreadPool::Options o;
    o.threads = std::clamp(options.threads, 0, ThreadPool::kThreadsMax);
    o.name = "trace";
    return o;
  }

  ArrayEnd read_array(uint64_t at) override {
    const bool by_many = source_.random() && pool_.size() > 1;
    by_many ? parse_by_many(at) : parse_in_order(at);
    const Chunk& last = chunks_.back();
    if (by_many) window_.restart(last.stop);
    return {.stop = last.stop, .end = last.end, .cut_short = last.cut_short};
  }

  void parse_in_order(uint64_t at) {
    do {
      window_.discard_before(at);
      window_.grow(kReadBytes);
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
    uint64_t lost = health_.lost_events;
    for (const Chunk& chunk : chunks_) {
      lost += chunk.lost_events;
      if (chunk.rows.size() + chunk.flows.size() + chunk.metadata.size() != 0) return true;
    }
    return is_array_ && lost == 0;
  }

  Generation generation() const {
    uint8_t marks = 0;
    for (const Chunk& chunk : chunks_) marks |= chunk.marks;
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

  const LoadOptions& options_;
  ThreadPool pool_;
  std::vector<Tables> tables_;  // by worker
  Events scratch_;
  std::vector<Chunk> chunks_;
  std::optional<Error> error_;
};

void Loader::parse_by_many(uint64_t at) {
  const uint64_t size = source_.size().value_or(0);
  const size_t n = at < size ? (size - at + kChunkBytes - 1) / kChunkBytes : 1;
  const auto boundary = [&](size_t c) { return c == n ? UINT64_MAX : at + c * kChunkBytes; };
  std::vector<std::optional<Chunk>> guessed(n);
  std::vector<Events> scratch(tables_.size());
  std::vector<TextWindow> windows(tables_.size(), TextWindow(source_));
  std::atomic<uint64_t> done = 0;
  pool_.parallel_for_dynamic(static_cast<int64_t>(n), 1, [&](int64_t begin, int64_t end, int w) {
    for (auto c = static_cast<size_t>(begin); c < static_cast<size_t>(end); ++c) {
      TextWindow& window = windows[static_cast<size_t>(w)];
      window.restart(boundary(c) - std::min<uint64_t>(boundary(c), TextWindow::kLookBehind));
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
  for (TextWindow& window : windows) {
    if (window.error()) error_ = window.error();
  }
  for (size_t c = 0; c < n; ++c) {
    if (boundary(c + 1) <= at) continue;  // the chunk before went on beyond this one
    if (!guessed[c] || guessed[c]->start != at) {
      window_.restart(at - std::min<uint64_t>(at, TextWindow::kLookBehind));
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
