#include "trace/generate.h"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <deque>
#include <filesystem>
#include <memory>
#include <system_error>

#include <fmt/core.h>
#include <zlib.h>

#include "base/check.h"
#include "base/files.h"
#include "trace/generate_answers.h"
#include "trace/generate_machine.h"
#include "trace/generate_schedules.h"
#include "trace/generate_write.h"

namespace hadal::trace::gen {
namespace {

/// A scenario under way: machine, answers and one writer per rank.
class Run {
 public:
  Run(const Scenario& scenario, std::span<const Sink> sinks, const Observer& observer)
      : scenario_(scenario),
        observer_(observer),
        machine_(scenario),
        tally_(scenario, machine_),
        layout_(scenario) {
    for (int r = 0; r < scenario.ranks; ++r) {
      writers_.emplace_back(scenario_, layout_, tally_.clock(r), r, sinks[static_cast<size_t>(r)]);
      writers_.back().begin();
    }
  }

  int64_t bytes() const { return writers_.front().bytes(); }

  Result<> step(int layers, int micro_batches) {
    run_step(machine_, scenario_.schedule, ++steps_, layers, micro_batches);
    tally_.add_step(machine_);
    if (observer_) {
      for (int r = 0; r < scenario_.ranks; ++r) observer_(r, tally_.activities(r));
    }
    return write();
  }
  Result<> poll(int64_t count) {
    machine_.poll(count);
    return write();
  }
  Result<Answers> finish() {
    for (size_t r = 0; r < writers_.size(); ++r) TRY(writers_[r].finish(machine_.ranks()[r]));
    Answers answers = tally_.finish(machine_);
    for (size_t r = 0; r < writers_.size(); ++r) {
      answers.ranks[r].events = writers_[r].counts();
      answers.ranks[r].bytes = writers_[r].bytes();
      answers.ranks[r].truncated_at = writers_[r].truncated_at();
    }
    for (Injected& injected : answers.injected) {
      if (info(injected.fault.kind).unit == '-') injected.count = 1;  // of the file as a whole
    }
    return answers;
  }

 private:
  Result<> write() {
    for (size_t r = 0; r < writers_.size(); ++r) {
      TRY(writers_[r].write_step(machine_.ranks()[r], machine_.regions()));
    }
    machine_.clear();
    return {};
  }

  const Scenario& scenario_;
  const Observer& observer_;
  Machine machine_;
  Tally tally_;
  Layout layout_;
  std::deque<Writer> writers_;
  int steps_ = 0;
};

/// The lengths that a file is put together from, in bytes, measured on a short one.
struct Sizes {
  int64_t step = 0;  // without its layers
  int64_t layer = 0;
  int64_t poll = 0;
  int64_t end = 0;
};

Result<Sizes> measure(const Scenario& scenario) {
  const std::vector<Sink> sinks(static_cast<size_t>(scenario.ranks),
                                [](std::string_view) -> Result<> { return {}; });
  constexpr int kPolls = 100;
  const Observer nobody;  // Run keeps a reference
  Run run(scenario, sinks, nobody);
  std::array<int64_t, 5> at{};
  at[0] = run.bytes();
  TRY(run.step(1, 1));
  at[1] = run.bytes();
  TRY(run.step(2, 1));
  at[2] = run.bytes();
  TRY(run.poll(kPolls));
  at[3] = run.bytes();
  const Answers answers = TRY(run.finish());
  at[4] = answers.ranks[0].bytes;
  Sizes sizes;
  sizes.layer = std::max<int64_t>(1, (at[2] - at[1]) - (at[1] - at[0]));
  sizes.step = std::max<int64_t>(0, at[1] - at[0] - sizes.layer);
  sizes.poll = std::max<int64_t>(1, (at[3] - at[2]) / kPolls);
  sizes.end = at[4] - at[3];
  return sizes;
}

// Whole steps, then fewer layers, then polls.
Result<> fill(const Scenario& scenario, Run& run) {
  const Sizes sizes = TRY(measure(scenario));
  const int64_t whole =
      scenario.micro_batches * (sizes.step + sizes.layer * int64_t{scenario.layers});
  const auto left = [&] { return scenario.bytes - sizes.end - run.bytes(); };
  bool any = false;
  for (; left() >= whole; any = true) TRY(run.step(scenario.layers, scenario.micro_batches));
  const int64_t layers = std::min<int64_t>((left() - sizes.step) / sizes.layer, 1'000'000);
  if (layers >= 1) {
    TRY(run.step(static_cast<int>(layers), 1));
  } else if (!any) {
    return fail(Code::kInvalidArgument,
                fmt::format("bytes is {}; a step of one layer takes {}", scenario.bytes,
                            run.bytes() + sizes.step + sizes.layer + sizes.end));
  }
  if (left() >= sizes.poll) TRY(run.poll(left() / sizes.poll));
  return {};
}

}  // namespace

Result<Answers> generate(const Scenario& scenario, std::span<const Sink> sinks,
                         const Observer& observer) {
  TRY(validate(scenario));
  CHECK(sinks.size() == static_cast<size_t>(scenario.ranks), "one sink per rank");
  Run run(scenario, sinks, observer);
  if (scenario.bytes > 0) {
    TRY(fill(scenario, run));
  } else {
    for (int i = 0; i < scenario.steps; ++i) {
      TRY(run.step(scenario.layers, scenario.micro_batches));
    }
  }
  return run.finish();
}

Result<Generated> generate(const Scenario& scenario) {
  TRY(validate(scenario));
  Generated made;
  const auto ranks = static_cast<size_t>(scenario.ranks);
  made.documents.resize(ranks);
  made.activities.resize(ranks);
  std::vector<Sink> sinks;
  sinks.reserve(ranks);
  for (std::string& document : made.documents) {
    sinks.emplace_back([&document](std::string_view text) -> Result<> {
      document += text;
      return {};
    });
  }
  made.answers = TRY(generate(scenario, sinks, [&](int rank, std::span<const Activity> step) {
    std::vector<Activity>& all = made.activities[static_cast<size_t>(rank)];
    all.insert(all.end(), step.begin(), step.end());
  }));
  return made;
}

// --- files --------------------------------------------------------------------------------------

namespace {

/// A file, plain or gzip, that has its name once it is complete.
class TraceFile {
 public:
  TraceFile(std::string path, bool gzip) : path_(std::move(path)), gzip_(gzip) {}
  ~TraceFile() {
    if (gzip_ && file_ != nullptr) deflateEnd(&deflater_);
    if (file_ == nullptr) return;
    std::fclose(file_);
    std::remove(temporary_.c_str());
  }
  TraceFile(const TraceFile&) = delete;
  TraceFile& operator=(const TraceFile&) = delete;

  const std::string& path() const { return path_; }

  Result<> open() {
    temporary_ = path_ + ".tmp";
    file_ = std::fopen(temporary_.c_str(), "wbe");
    if (file_ == nullptr) return std::unexpected(os_error(errno, temporary_));
    std::setvbuf(file_, nullptr, _IONBF, 0);  // pieces are large
    // Level 1: traces shrink to a tenth even so, and generating them is the point.
    constexpr int kGzipWindow = 15 + 16;
    if (gzip_ &&
        deflateInit2(&deflater_, 1, Z_DEFLATED, kGzipWindow, 8, Z_DEFAULT_STRATEGY) != Z_OK) {
      gzip_ = false;
      return fail(Code::kNoSpace, fmt::format("{}: no memory to compress it", path_));
    }
    return {};
  }
  Result<> write(std::string_view text) {
    return gzip_ ? deflate_to_file(text, Z_NO_FLUSH) : put(text);
  }
  Result<> close() {
    if (gzip_) {
      TRY(deflate_to_file({}, Z_FINISH));
      deflateEnd(&deflater_);
      gzip_ = false;
    }
    std::FILE* file = std::exchange(file_, nullptr);
    if (std::fclose(file) != 0 || std::rename(temporary_.c_str(), path_.c_str()) != 0) {
      const int error = errno;
      std::remove(temporary_.c_str());
      return std::unexpected(os_error(error, path_));
    }
    return {};
  }

 private:
  Result<> put(std::string_view text) {
    if (std::fwrite(text.data(), 1, text.size(), file_) == text.size()) return {};
    return std::unexpected(os_error(errno, temporary_));
  }
  Result<> deflate_to_file(std::string_view text, int flush) {
    packed_.resize(size_t{256} << 10);
    // zlib reads through a pointer to non-const.
    deflater_.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
    deflater_.avail_in = static_cast<uInt>(text.size());
    do {
      deflater_.next_out = reinterpret_cast<Bytef*>(packed_.data());
      deflater_.avail_out = static_cast<uInt>(packed_.size());
      const int code = deflate(&deflater_, flush);
      CHECK(code == Z_OK || code == Z_STREAM_END || code == Z_BUF_ERROR, "zlib's own state");
      TRY(put({packed_.data(), packed_.size() - deflater_.avail_out}));
    } while (deflater_.avail_out == 0);
    return {};
  }

  std::string path_, temporary_;
  bool gzip_;
  std::FILE* file_ = nullptr;
  z_stream deflater_{};
  std::string packed_;
};

/// The names that `path` asks for; makes the directory.
Result<GeneratedFiles> name_files(const Scenario& scenario, const std::string& path, bool gzip) {
  GeneratedFiles files;
  for (const std::string_view suffix : {".json", ".json.gz"}) {
    if (!path.ends_with(suffix)) continue;
    if (scenario.ranks != 1) {
      return fail(Code::kInvalidArgument,
                  fmt::format("{} is one file, but there are {} ranks; name a directory", path,
                              scenario.ranks));
    }
    files.traces.push_back(path);
    files.answers_path = path.substr(0, path.size() - suffix.size()) + ".answers.json";
    return files;
  }
  std::error_code error;
  std::filesystem::create_directories(path, error);
  if (error) return std::unexpected(os_error(error.value(), path));
  const std::string directory = path.ends_with('/') ? path : path + "/";
  for (int r = 0; r < scenario.ranks; ++r) {
    files.traces.push_back(fmt::format("{}rank{}.json{}", directory, r, gzip ? ".gz" : ""));
  }
  files.answers_path = directory + "answers.json";
  return files;
}

}  // namespace

Result<GeneratedFiles> generate_files(const Scenario& scenario, const std::string& path,
                                      bool gzip) {
  TRY(validate(scenario));
  GeneratedFiles files = TRY(name_files(scenario, path, gzip));
  std::deque<TraceFile> open;
  std::vector<Sink> sinks;
  for (const std::string& name : files.traces) {
    TraceFile& file = open.emplace_back(name, name.ends_with(".gz"));
    TRY(file.open());
    sinks.emplace_back([&file](std::string_view text) { return file.write(text); });
  }
  files.answers = TRY(generate(scenario, sinks));
  for (TraceFile& file : open) TRY(file.close());
  TRY(write_file_atomically(files.answers_path, to_json(scenario, files.answers)));
  return files;
}

}  // namespace hadal::trace::gen
