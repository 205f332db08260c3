// A stack of its own for a function that runs in turns with its caller.
//
// resume() runs the function until it calls suspend() or ends; suspend() goes back to resume()'s
// caller. Switching costs a few nanoseconds (Boost.Context): an emulated CUDA thread is one, and so
// is each piece of a server's work that waits (base/executor.h). A fiber that never ends may be
// abandoned: start() begins anew on the same stack, and nothing that the old function held is
// destroyed. AddressSanitizer and ThreadSanitizer are told of every switch. A fiber must be resumed
// by one OS thread at a time. Stacks end in a guard page.
#pragma once

#include <cstddef>

namespace hadal {

class Fiber {
 public:
  /// Sanitized builds double the stack, whose frames are larger there.
  explicit Fiber(size_t stack_bytes);
  ~Fiber();
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;

  /// The next resume() calls function(argument) from its beginning. Not from inside.
  void start(void (*function)(void*), void* argument);
  /// Not after the function has ended.
  void resume();
  /// From inside only.
  void suspend();

 private:
  struct Switch;  // fiber.cpp: what knows Boost's types

  void* context_ = nullptr;  // where the fiber stands; null once it has ended
  void* caller_ = nullptr;   // where resume() was called
  void* memory_ = nullptr;   // guard page, then the stack
  size_t stack_bytes_ = 0;
  void (*function_)(void*) = nullptr;
  void* argument_ = nullptr;
  // Of the sanitizers; unused without them.
  void* fake_stack_ = nullptr;
  const void* caller_stack_ = nullptr;
  size_t caller_stack_bytes_ = 0;
  void* tsan_fiber_ = nullptr;
  void* tsan_caller_ = nullptr;
};

}  // namespace hadal
