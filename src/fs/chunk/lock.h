// One change of a chunk at a time, also where the chunk is not there yet.
#pragma once

#include <memory>

#include "fs/chunk/store.h"

namespace hadal::fs {

struct ChunkStore::Lock {
  FiberMutex mutex = {};
  int users = 0;
};

class ChunkStore::Locked {
 public:
  Locked(ChunkStore& store, const ChunkId& id) : store_(store), id_(id) {
    auto& lock = store.locks_[id];
    if (!lock) lock = std::make_unique<Lock>();
    lock_ = lock.get();
    ++lock_->users;
    // If the fiber is unwound here the whole store goes with it.
    lock_->mutex.lock();
  }
  ~Locked() {
    lock_->mutex.unlock();
    if (--lock_->users == 0) store_.locks_.erase(id_);
  }
  Locked(const Locked&) = delete;
  Locked& operator=(const Locked&) = delete;

 private:
  ChunkStore& store_;
  const ChunkId id_;
  Lock* lock_ = nullptr;
};

}  // namespace hadal::fs
