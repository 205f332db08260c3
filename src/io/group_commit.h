// Many callers, one flush.
//
//   GroupCommit commits([&] { return log.sync(); });
//   TRY(log.write(end, record));          // any number of fibers
//   TRY(commits.commit());                // durable, if it returns well
//
// A flush costs the same for one write as for a thousand (fdatasync on a disk: 0.1 to 10 ms), so
// who comes while one runs waits for the next, together. The flush that a caller waits for began
// after its call: the one that runs already may have looked at the file before the caller's write.
//
// The durable order. A commit() that returns well means that everything that was written before it
// was called is durable, and so is everything that was written before any commit() that was called
// earlier. Callers return in the order of their calls. Between two writes that wait for the same
// flush there is none: after a loss of power either may be there without the other.
//
// After a flush that fails nobody knows what it wrote, and the system may report the next one as
// good (Linux drops the pages). So every commit() that waits or comes later fails with the same
// error until reset(), which is for who has found out what is there and written the rest again.
//
// At most one flush runs at a time. Threads: fibers of one executor.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include "base/error.h"
#include "base/executor.h"

namespace hadal::io {

class GroupCommit {
 public:
  /// `flush` is called in a fiber of a caller.
  explicit GroupCommit(std::function<Result<>()> flush);

  Result<> commit();
  /// Forgets the failure. Who waited when it happened fails all the same.
  void reset() { failure_ = {}; }

  uint64_t flushes() const { return flushes_; }  // that have begun

 private:
  /// Callers of the same flush; the first of them makes it.
  struct Group {
    Result<> result = {};
    FiberEvent done = {};
  };

  void flush(Group& group);

  const std::function<Result<>()> flush_;
  std::shared_ptr<Group> next_;  // whose flush has not begun
  FiberMutex turn_;
  Result<> failure_ = {};
  uint64_t flushes_ = 0;
};

}  // namespace hadal::io
