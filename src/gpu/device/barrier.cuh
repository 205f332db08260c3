// Barriers in shared memory (PTX: mbarrier): how threads wait for copies and for each other.
//
// A barrier counts arrivals and bytes. Its phase completes when the arrivals it was made for have
// come and all bytes that were announced have landed; then it starts again with the same count.
// A thread waits for the completion of a phase by the phase's parity: the first has parity 0.
//
//   full.arrive_expect(bytes);  load_tile(to, map, full, {k, m});     // producer
//   full.wait(ring.parity);  ...use...;  empty.arrive();  ring.next();     // consumer
//   empty.wait(ring.parity ^ 1);                    // producer: passes in the first round
#pragma once

#include "gpu/device/memory.cuh"

namespace hadal::gpu::device {

/// Eight bytes of shared memory, at a multiple of eight.
struct Barrier {
  SharedAddress at;

  /// One thread, once; then fence_barrier_init() and a barrier before anybody else uses it.
  HADAL_DEVICE void init(uint32_t arrivals) const {
#if defined(__CUDACC__)
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(at.offset), "r"(arrivals)
                 : "memory");
#else
    emulator::barrier_init(at.offset, arrivals);
#endif
  }

  HADAL_DEVICE void arrive() const {
#if defined(__CUDACC__)
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(at.offset) : "memory");
#else
    emulator::barrier_arrive(at.offset, 0);
#endif
  }

  /// Arrives, and announces bytes that copies will bring in this phase.
  HADAL_DEVICE void arrive_expect(uint32_t bytes) const {
#if defined(__CUDACC__)
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(at.offset),
                 "r"(bytes)
                 : "memory");
#else
    emulator::barrier_arrive(at.offset, bytes);
#endif
  }

  /// Announces bytes without arriving.
  HADAL_DEVICE void expect(uint32_t bytes) const {
#if defined(__CUDACC__)
    asm volatile("mbarrier.expect_tx.relaxed.cta.shared::cta.b64 [%0], %1;" ::"r"(at.offset),
                 "r"(bytes)
                 : "memory");
#else
    emulator::barrier_expect(at.offset, bytes);
#endif
  }

  /// Arrives at the same barrier of block `rank` of the cluster.
  HADAL_DEVICE void arrive_at(uint32_t rank) const {
    const ClusterAddress remote = cluster_address(at, rank);
#if defined(__CUDACC__)
    asm volatile("mbarrier.arrive.release.cluster.shared::cluster.b64 _, [%0];" ::"r"(remote.offset)
                 : "memory");
#else
    emulator::barrier_arrive_remote(remote.offset);
#endif
  }

  /// Whether the phase of this parity has completed; may sleep for a moment before it says no.
  HADAL_DEVICE bool try_wait(uint32_t parity) const {
#if defined(__CUDACC__)
    uint32_t done;
    asm volatile(
        "{\n.reg .pred p;\n"
        "mbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2;\n"
        "selp.u32 %0, 1, 0, p;\n}"
        : "=r"(done)
        : "r"(at.offset), "r"(parity)
        : "memory");
    return done != 0;
#else
    return emulator::barrier_try_wait(at.offset, parity);
#endif
  }

  /// Waits until the phase of this parity has completed. What was written before the arrivals, and
  /// what the announced copies wrote, is visible then.
  HADAL_DEVICE void wait(uint32_t parity) const {
#if defined(__CUDACC__)
    while (!try_wait(parity)) {
    }
#else
    emulator::barrier_wait(at.offset, parity);
#endif
  }

  /// wait() for arrivals of other blocks of the cluster that ordered memory there.
  HADAL_DEVICE void wait_cluster(uint32_t parity) const {
#if defined(__CUDACC__)
    uint32_t done;
    do {
      asm volatile(
          "{\n.reg .pred p;\n"
          "mbarrier.try_wait.parity.acquire.cluster.shared::cta.b64 p, [%1], %2;\n"
          "selp.u32 %0, 1, 0, p;\n}"
          : "=r"(done)
          : "r"(at.offset), "r"(parity)
          : "memory");
    } while (done == 0);
#else
    emulator::barrier_wait(at.offset, parity);
#endif
  }
};

/// Makes init() visible to the cluster and to copies. By the thread that initialised.
HADAL_DEVICE void fence_barrier_init() {
#if defined(__CUDACC__)
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
#else
  emulator::fence_barrier_init();
#endif
}

/// Where a role stands in a ring of stages, each with its barriers.
template <uint32_t kStages>
struct Ring {
  uint32_t stage = 0;
  uint32_t parity = 0;

  HADAL_DEVICE void next() {
    if (++stage == kStages) {
      stage = 0;
      parity ^= 1;
    }
  }
};

}  // namespace hadal::gpu::device
