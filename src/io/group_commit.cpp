#include "io/group_commit.h"

#include <utility>

namespace hadal::io {

GroupCommit::GroupCommit(std::function<Result<>()> flush) : flush_(std::move(flush)) {}

Result<> GroupCommit::commit() {
  if (!failure_) return failure_;
  const bool first = next_ == nullptr;
  if (first) next_ = std::make_shared<Group>();
  const std::shared_ptr<Group> group = next_;
  if (first) {
    flush(*group);
  } else {
    group->done.wait();
  }
  return group->result;
}

void GroupCommit::flush(Group& group) {
  turn_.lock();  // until the flush that runs has ended
  // One that failed has failed this group too.
  if (group.result) {
    next_ = nullptr;  // who comes from now on is too late for this one
    ++flushes_;
    group.result = flush_();
    if (!group.result) {
      failure_ = group.result;
      if (next_) next_->result = failure_;
      next_ = nullptr;
    }
  }
  // First these, then those of the next group.
  group.done.set();
  turn_.unlock();
}

}  // namespace hadal::io
