#include "io/event_loop.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <ctime>

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/check.h"

namespace hadal::io {
namespace {

constexpr int kEventsPerTurn = 128;
constexpr int64_t kSleepNsMax = 60 * kSecond;

}  // namespace

EventLoop::EventLoop()
    : epoll_fd_(::epoll_create1(EPOLL_CLOEXEC)),
      wake_fd_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  CHECK(epoll_fd_ >= 0 && wake_fd_ >= 0, "the process has no file descriptors left");
  watch(wake_fd_, EPOLLIN, [this](uint32_t) {
    uint64_t count = 0;
    // An eventfd that epoll reports has something to read.
    CHECK(::read(wake_fd_, &count, sizeof(count)) == sizeof(count) || errno == EAGAIN);
  });
}

EventLoop::~EventLoop() {
  stop_fibers();
  tasks_.clear();
  inbox_.clear();
  ::close(wake_fd_);
  ::close(epoll_fd_);
}

void EventLoop::run(Task main) {
  spawn("main", [this, main = std::move(main)]() mutable {
    main();
    stop();
  });
  run();
}

void EventLoop::run() {
  thread_ = std::this_thread::get_id();
  while (!stop_) {
    take_inbox();
    run_tasks();
    run_timers();
    run_hooks();
    if (!stop_) poll();
  }
  stop_ = false;
  thread_ = std::thread::id();
}

void EventLoop::stop() {
  post([this] { stop_ = true; });
}

bool EventLoop::on_own_thread() const {
  return thread_.load(std::memory_order_relaxed) == std::this_thread::get_id();
}

void EventLoop::post(Task task) {
  if (on_own_thread()) {
    tasks_.push_back(std::move(task));
    return;
  }
  {
    const std::lock_guard lock(inbox_mutex_);
    inbox_.push_back(std::move(task));
    inbox_full_ = true;
  }
  if (!sleeping_) return;
  const uint64_t one = 1;
  // Fails only where the counter is full, and then the loop wakes anyway.
  CHECK(::write(wake_fd_, &one, sizeof(one)) == sizeof(one) || errno == EAGAIN);
}

void EventLoop::take_inbox() {
  if (!inbox_full_) return;
  const std::lock_guard lock(inbox_mutex_);
  for (Task& task : inbox_) tasks_.push_back(std::move(task));
  inbox_.clear();
  inbox_full_ = false;
}

void EventLoop::run_tasks() {
  // What these post runs in the next turn, behind timers and descriptors.
  running_.swap(tasks_);
  for (Task& task : running_) {
    task();
    task = nullptr;
  }
  running_.clear();
}

TimerId EventLoop::start_timer(int64_t time_ns, Task task) {
  const TimerId id = next_timer_++;
  timers_.emplace(std::pair(time_ns, id), std::move(task));
  timer_times_.emplace(id, time_ns);
  return id;
}

void EventLoop::stop_timer(TimerId timer) {
  const auto found = timer_times_.find(timer);
  if (found == timer_times_.end()) return;
  timers_.erase({found->second, timer});
  timer_times_.erase(found);
}

void EventLoop::run_timers() {
  if (timers_.empty()) return;
  const int64_t now = now_ns();
  while (!timers_.empty() && timers_.begin()->first.first <= now) {
    const auto first = timers_.begin();
    Task task = std::move(first->second);
    timer_times_.erase(first->first.second);
    timers_.erase(first);
    task();
  }
}

uint64_t EventLoop::add_hook(std::function<void()> hook) {
  const uint64_t id = next_serial_++;
  hooks_.emplace(id, std::move(hook));
  return id;
}

void EventLoop::remove_hook(uint64_t id) {
  CHECK(hooks_.erase(id) == 1, "no such hook");
}

void EventLoop::run_hooks() {
  for (const auto& [id, hook] : hooks_) hook();
}

void EventLoop::watch(int fd, uint32_t events, Ready ready) {
  const uint64_t serial = next_serial_++;
  auto added = std::make_unique<Watch>(serial, std::move(ready));
  CHECK(watches_.emplace(fd, std::move(added)).second, "watched already");
  epoll_event event = {};
  event.events = events;
  event.data.fd = fd;
  CHECK(::epoll_ctl(epoll_fd_, EPOLL_CTL_ADD, fd, &event) == 0, "epoll refuses the descriptor");
}

void EventLoop::watch_for(int fd, uint32_t events) {
  epoll_event event = {};
  event.events = events;
  event.data.fd = fd;
  CHECK(::epoll_ctl(epoll_fd_, EPOLL_CTL_MOD, fd, &event) == 0, "not watched");
}

void EventLoop::unwatch(int fd) {
  const auto found = watches_.find(fd);
  CHECK(found != watches_.end(), "not watched");
  unwatched_.push_back(std::move(found->second));
  watches_.erase(found);
  CHECK(::epoll_ctl(epoll_fd_, EPOLL_CTL_DEL, fd, nullptr) == 0, "closed before it was unwatched");
}

void EventLoop::poll() {
  sleeping_ = true;
  // A post that came before saw no sleeper, one that comes now writes to wake_fd_.
  int64_t wait_ns = tasks_.empty() && !inbox_full_ ? kSleepNsMax : 0;
  if (wait_ns > 0 && !timers_.empty())
    wait_ns = std::clamp<int64_t>(timers_.begin()->first.first - now_ns(), 0, wait_ns);
  const timespec timeout = {.tv_sec = wait_ns / kSecond, .tv_nsec = wait_ns % kSecond};
  std::array<epoll_event, kEventsPerTurn> events;
  const int count = ::epoll_pwait2(epoll_fd_, events.data(), kEventsPerTurn, &timeout, nullptr);
  sleeping_ = false;
  CHECK(count >= 0 || errno == EINTR, "epoll fails");
  const uint64_t newest = next_serial_;
  for (int i = 0; i < count; ++i) {
    const auto found = watches_.find(events[static_cast<size_t>(i)].data.fd);
    // Gone, or a new one under the number of one that is gone.
    if (found == watches_.end() || found->second->serial >= newest) continue;
    found->second->ready(events[static_cast<size_t>(i)].events);
  }
  unwatched_.clear();
}

}  // namespace hadal::io
