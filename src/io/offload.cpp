#include "io/offload.h"

#include <pthread.h>

#include "base/check.h"

namespace hadal::io {

struct Offload::Job {
  const std::function<void()>* function;  // of the fiber that waits; null: it is `started`
  std::function<void()> started = {};
  bool called = false;   // under the mutex
  FiberEvent done = {};  // of the executor
};

Offload::Offload(Executor& executor, const OffloadOptions& options) : executor_(executor) {
  CHECK(options.threads >= 1);
  for (int i = 0; i < options.threads; ++i) {
    threads_.emplace_back([this] { work(); });
    ::pthread_setname_np(threads_.back().native_handle(), options.name.substr(0, 15).c_str());
  }
}

Offload::~Offload() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  wake_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

void Offload::run_job(const std::function<void()>& function) {
  const auto job = std::make_shared<Job>(&function);
  {
    const std::lock_guard lock(mutex_);
    jobs_.push_back(job);
  }
  wake_.notify_one();
  // `function` lives on this stack: it must have run, or must not run, when the fiber leaves.
  struct Guard {
    Offload& offload;
    Job& job;
    ~Guard() {
      std::unique_lock lock(offload.mutex_);
      const auto waits = [this](const auto& other) { return other.get() == &job; };
      if (std::erase_if(offload.jobs_, waits) != 0) return;
      offload.called_.wait(lock, [this] { return job.called; });
    }
  };
  const Guard guard{*this, *job};
  job->done.wait();
}

void Offload::start(std::function<void()> function) {
  {
    const std::lock_guard lock(mutex_);
    jobs_.push_back(std::make_shared<Job>(nullptr, std::move(function)));
  }
  wake_.notify_one();
}

void Offload::work() {
  std::unique_lock lock(mutex_);
  while (true) {
    wake_.wait(lock, [this] { return stop_ || !jobs_.empty(); });
    if (jobs_.empty()) return;
    const std::shared_ptr<Job> job = std::move(jobs_.front());
    jobs_.pop_front();
    lock.unlock();
    job->function != nullptr ? (*job->function)() : job->started();
    lock.lock();
    if (job->function == nullptr) continue;
    job->called = true;
    called_.notify_all();
    executor_.post([job] { job->done.set(); });
  }
}

}  // namespace hadal::io
