#include "base/fiber.h"

#include <cstdint>

#include <boost/context/detail/fcontext.hpp>
#include <sys/mman.h>
#include <unistd.h>

#include "base/check.h"

#if defined(__SANITIZE_ADDRESS__)
#define HADAL_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define HADAL_ASAN 1
#endif
#endif
#if defined(__SANITIZE_THREAD__)
#define HADAL_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define HADAL_TSAN 1
#endif
#endif

#if defined(HADAL_ASAN)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
#if defined(HADAL_TSAN)
#include <sanitizer/tsan_interface.h>
#endif

namespace hadal {
namespace {

namespace context = boost::context::detail;

#if defined(HADAL_ASAN) || defined(HADAL_TSAN)
constexpr size_t kStackFactor = 2;
#else
constexpr size_t kStackFactor = 1;
#endif

size_t page_bytes() {
  return static_cast<size_t>(sysconf(_SC_PAGESIZE));
}

}  // namespace

struct Fiber::Switch {
  static uint8_t* stack(const Fiber& fiber) {
    return static_cast<uint8_t*>(fiber.memory_) + page_bytes();
  }

  /// The first function on the fiber's stack.
  static void enter(context::transfer_t from) {
    Fiber& self = *static_cast<Fiber*>(from.data);
    self.caller_ = from.fctx;
    arrived_inside(self);
    self.function_(self.argument_);
#if defined(HADAL_ASAN)
    __sanitizer_start_switch_fiber(nullptr, self.caller_stack_, self.caller_stack_bytes_);
#endif
#if defined(HADAL_TSAN)
    __tsan_switch_to_fiber(self.tsan_caller_, 0);
#endif
    context::jump_fcontext(self.caller_, nullptr);
    CHECK(false, "an ended fiber was resumed");
  }

  static void arrived_inside([[maybe_unused]] Fiber& self) {
#if defined(HADAL_ASAN)
    __sanitizer_finish_switch_fiber(self.fake_stack_, &self.caller_stack_,
                                    &self.caller_stack_bytes_);
#endif
  }
};

Fiber::Fiber(size_t stack_bytes) : stack_bytes_(kStackFactor * stack_bytes) {
  const size_t bytes = stack_bytes_ + page_bytes();
  memory_ = mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
  CHECK(memory_ != MAP_FAILED, "no memory for the stack of a fiber");
  CHECK(mprotect(memory_, page_bytes(), PROT_NONE) == 0);
}

Fiber::~Fiber() {
#if defined(HADAL_TSAN)
  if (tsan_fiber_ != nullptr) __tsan_destroy_fiber(tsan_fiber_);
#endif
  munmap(memory_, stack_bytes_ + page_bytes());
}

void Fiber::start(void (*function)(void*), void* argument) {
  function_ = function;
  argument_ = argument;
  fake_stack_ = nullptr;
#if defined(HADAL_ASAN)
  // Frames of an abandoned function have left their red zones.
  __asan_unpoison_memory_region(Switch::stack(*this), stack_bytes_);
#endif
#if defined(HADAL_TSAN)
  if (tsan_fiber_ != nullptr) __tsan_destroy_fiber(tsan_fiber_);
  tsan_fiber_ = __tsan_create_fiber(0);
#endif
  context_ =
      context::make_fcontext(Switch::stack(*this) + stack_bytes_, stack_bytes_, Switch::enter);
}

void Fiber::resume() {
  DCHECK(context_ != nullptr);
#if defined(HADAL_ASAN)
  void* fake_stack = nullptr;
  __sanitizer_start_switch_fiber(&fake_stack, Switch::stack(*this), stack_bytes_);
#endif
#if defined(HADAL_TSAN)
  tsan_caller_ = __tsan_get_current_fiber();
  __tsan_switch_to_fiber(tsan_fiber_, 0);
#endif
  context_ = context::jump_fcontext(context_, this).fctx;
#if defined(HADAL_ASAN)
  __sanitizer_finish_switch_fiber(fake_stack, nullptr, nullptr);
#endif
}

void Fiber::suspend() {
#if defined(HADAL_ASAN)
  __sanitizer_start_switch_fiber(&fake_stack_, caller_stack_, caller_stack_bytes_);
#endif
#if defined(HADAL_TSAN)
  __tsan_switch_to_fiber(tsan_caller_, 0);
#endif
  caller_ = context::jump_fcontext(caller_, nullptr).fctx;
  Switch::arrived_inside(*this);
}

}  // namespace hadal
