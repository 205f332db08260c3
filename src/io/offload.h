// Threads for calls that block, so that an event loop does not.
//
//   Offload disk(loop, {.threads = 2, .name = "disk"});
//   const int status = disk.run([&] { return ::fdatasync(fd); });   // the fiber waits, the loop
//   not
//
// Only for real executors: in the simulator nothing blocks and there are no threads. A fiber that
// is unwound while its call runs blocks its thread until the call has returned, because the call
// may use the fiber's stack.
//
// Threads: the executor's; run() from its fibers.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#include "base/executor.h"

namespace hadal::io {

struct OffloadOptions {
  int threads = 1;
  std::string name = "offload";  // 15 bytes are shown by the system
};

class Offload {
 public:
  Offload(Executor& executor, const OffloadOptions& options);
  /// No call is running.
  ~Offload();
  Offload(const Offload&) = delete;
  Offload& operator=(const Offload&) = delete;

  /// Calls the function in one of the threads, in the order of run(), and returns its value.
  template <typename Function>
  auto run(Function&& function) {
    using Value = std::invoke_result_t<Function&>;
    if constexpr (std::is_void_v<Value>) {
      run_job(function);
    } else {
      Value value = {};
      run_job([&] { value = function(); });
      return value;
    }
  }

  /// The same, and nobody waits for it. Not only from fibers; all are called before the end.
  void start(std::function<void()> function);

 private:
  struct Job;
  void run_job(const std::function<void()>& function);
  void work();

  Executor& executor_;
  std::mutex mutex_;
  std::condition_variable wake_;    // threads, for a job or the end
  std::condition_variable called_;  // fibers that are unwound
  std::deque<std::shared_ptr<Job>> jobs_;
  bool stop_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace hadal::io
