// Loads and stores: shared memory, the cluster's shared memory, global memory.
//
// An address in shared memory is an offset of 32 bits with a type of its own, because the
// instructions take it so and because the emulator has to see every access. Global memory is
// reached through pointers, by functions for the same reason.
//
// T is a trivially copyable type of 1, 2, 4, 8 or 16 bytes; addresses are multiples of its size.
#pragma once

#include "gpu/device/types.cuh"

namespace hadal::gpu::device {

// --- shared memory ---

/// A place in this block's shared memory.
struct SharedAddress {
  uint32_t offset;
};

HADAL_DEVICE SharedAddress operator+(SharedAddress at, uint32_t bytes) {
  return {at.offset + bytes};
}

/// A place in the shared memory of any block of this cluster.
struct ClusterAddress {
  uint32_t offset;
};

HADAL_DEVICE ClusterAddress operator+(ClusterAddress at, uint32_t bytes) {
  return {at.offset + bytes};
}

/// The dynamic shared memory of the launch, at a multiple of 1024, as 128-byte swizzles need it.
HADAL_DEVICE SharedAddress shared_memory() {
#if defined(__CUDACC__)
  extern __shared__ __align__(1024) uint8_t hadal_shared_memory[];
  return {static_cast<uint32_t>(__cvta_generic_to_shared(hadal_shared_memory))};
#else
  return {emulator::kSharedBase};
#endif
}

template <typename T>
HADAL_DEVICE T load_shared(SharedAddress from) {
#if defined(__CUDACC__)
  return *static_cast<const T*>(__cvta_shared_to_generic(from.offset));
#else
  T value;
  emulator::load_shared(&value, from.offset, sizeof(T));
  return value;
#endif
}

template <typename T>
HADAL_DEVICE void store_shared(SharedAddress to, T value) {
#if defined(__CUDACC__)
  *static_cast<T*>(__cvta_shared_to_generic(to.offset)) = value;
#else
  emulator::store_shared(to.offset, &value, sizeof(T));
#endif
}

/// Makes this thread's writes to shared memory visible to the asynchronous proxy (TMA, bulk copies,
/// wgmma), for operations that are ordered behind this fence by a barrier. The writer calls it.
HADAL_DEVICE void fence_async_shared() {
#if defined(__CUDACC__)
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
#else
  emulator::fence_async();
#endif
}

/// The same for global memory and shared memory of the cluster.
HADAL_DEVICE void fence_async() {
#if defined(__CUDACC__)
  asm volatile("fence.proxy.async;" ::: "memory");
#else
  emulator::fence_async();
#endif
}

// --- shared memory of the cluster ---

/// Where the block `rank` of this cluster has what this block has at `at`.
HADAL_DEVICE ClusterAddress cluster_address(SharedAddress at, uint32_t rank) {
#if defined(__CUDACC__)
  uint32_t offset;
  asm("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(offset) : "r"(at.offset), "r"(rank));
  return {offset};
#else
  return {emulator::cluster_address(at.offset, rank)};
#endif
}

template <typename T>
HADAL_DEVICE T load_cluster(ClusterAddress from) {
  static_assert(sizeof(T) == 4 || sizeof(T) == 16);
  T value;
#if defined(__CUDACC__)
  if constexpr (sizeof(T) == 16) {
    Vector4 v;
    asm volatile("ld.shared::cluster.v4.u32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(v.words[0]), "=r"(v.words[1]), "=r"(v.words[2]), "=r"(v.words[3])
                 : "r"(from.offset)
                 : "memory");
    value = __builtin_bit_cast(T, v);
  } else {
    uint32_t word;
    asm volatile("ld.shared::cluster.u32 %0, [%1];" : "=r"(word) : "r"(from.offset) : "memory");
    value = __builtin_bit_cast(T, word);
  }
#else
  emulator::load_cluster(&value, from.offset, sizeof(T));
#endif
  return value;
}

template <typename T>
HADAL_DEVICE void store_cluster(ClusterAddress to, T value) {
  static_assert(sizeof(T) == 4 || sizeof(T) == 16);
#if defined(__CUDACC__)
  if constexpr (sizeof(T) == 16) {
    const Vector4 v = __builtin_bit_cast(Vector4, value);
    asm volatile("st.shared::cluster.v4.u32 [%0], {%1, %2, %3, %4};" ::"r"(to.offset),
                 "r"(v.words[0]), "r"(v.words[1]), "r"(v.words[2]), "r"(v.words[3])
                 : "memory");
  } else {
    asm volatile("st.shared::cluster.u32 [%0], %1;" ::"r"(to.offset),
                 "r"(__builtin_bit_cast(uint32_t, value))
                 : "memory");
  }
#else
  emulator::store_cluster(to.offset, &value, sizeof(T));
#endif
}

/// Stores without waiting; the barrier at `barrier`, in the same block as `to`, gets sizeof(T)
/// bytes when the value is there. The value is visible to who has waited for that barrier.
template <typename T>
HADAL_DEVICE void store_async(ClusterAddress to, T value, ClusterAddress barrier) {
  static_assert(sizeof(T) == 4 || sizeof(T) == 16);
#if defined(__CUDACC__)
  if constexpr (sizeof(T) == 16) {
    const Vector4 v = __builtin_bit_cast(Vector4, value);
    asm volatile(
        "st.async.shared::cluster.mbarrier::complete_tx::bytes.v4.b32 [%0], {%1, %2, %3, %4}, "
        "[%5];" ::"r"(to.offset),
        "r"(v.words[0]), "r"(v.words[1]), "r"(v.words[2]), "r"(v.words[3]), "r"(barrier.offset)
        : "memory");
  } else {
    asm volatile("st.async.shared::cluster.mbarrier::complete_tx::bytes.b32 [%0], %1, [%2];" ::"r"(
                     to.offset),
                 "r"(__builtin_bit_cast(uint32_t, value)), "r"(barrier.offset)
                 : "memory");
  }
#else
  emulator::store_async(to.offset, &value, sizeof(T), barrier.offset);
#endif
}

// --- global memory ---

template <typename T>
HADAL_DEVICE T load_global(const T* from) {
#if defined(__CUDACC__)
  return *from;
#else
  T value;
  emulator::load_global(&value, from, sizeof(T));
  return value;
#endif
}

/// For memory that nobody writes while the kernel runs: goes through the read-only cache.
template <typename T>
HADAL_DEVICE T load_constant(const T* from) {
  static_assert(sizeof(T) == 4 || sizeof(T) == 16);
#if defined(__CUDACC__)
  if constexpr (sizeof(T) == 16) {
    Vector4 v;
    asm("ld.global.nc.L1::no_allocate.v4.u32 {%0, %1, %2, %3}, [%4];"
        : "=r"(v.words[0]), "=r"(v.words[1]), "=r"(v.words[2]), "=r"(v.words[3])
        : "l"(from));
    return __builtin_bit_cast(T, v);
  } else {
    uint32_t word;
    asm("ld.global.nc.u32 %0, [%1];" : "=r"(word) : "l"(from));
    return __builtin_bit_cast(T, word);
  }
#else
  return load_global(from);
#endif
}

template <typename T>
HADAL_DEVICE void store_global(T* to, T value) {
#if defined(__CUDACC__)
  *to = value;
#else
  emulator::store_global(to, &value, sizeof(T));
#endif
}

/// A load that sees what a store_release() or an atomic of another thread has published, with
/// everything that thread wrote before. T has four or eight bytes. For polling.
template <Scope kScope = Scope::kGpu, typename T>
HADAL_DEVICE T load_acquire(const T* from) {
  static_assert(sizeof(T) == 4 || sizeof(T) == 8);
#if defined(__CUDACC__)
  constexpr bool kSystem = kScope == Scope::kSystem;
  if constexpr (sizeof(T) == 8) {
    uint64_t bits;
    if constexpr (kSystem) {
      asm volatile("ld.acquire.sys.global.u64 %0, [%1];" : "=l"(bits) : "l"(from) : "memory");
    } else {
      asm volatile("ld.acquire.gpu.global.u64 %0, [%1];" : "=l"(bits) : "l"(from) : "memory");
    }
    return __builtin_bit_cast(T, bits);
  } else {
    uint32_t bits;
    if constexpr (kSystem) {
      asm volatile("ld.acquire.sys.global.u32 %0, [%1];" : "=r"(bits) : "l"(from) : "memory");
    } else {
      asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(bits) : "l"(from) : "memory");
    }
    return __builtin_bit_cast(T, bits);
  }
#else
  T value;
  emulator::load_acquire(&value, from, sizeof(T));
  return value;
#endif
}

/// Publishes a value, and with it everything that this thread wrote or has seen before.
template <Scope kScope = Scope::kGpu, typename T>
HADAL_DEVICE void store_release(T* to, T value) {
  static_assert(sizeof(T) == 4 || sizeof(T) == 8);
#if defined(__CUDACC__)
  constexpr bool kSystem = kScope == Scope::kSystem;
  if constexpr (sizeof(T) == 8) {
    const uint64_t bits = __builtin_bit_cast(uint64_t, value);
    if constexpr (kSystem) {
      asm volatile("st.release.sys.global.u64 [%0], %1;" ::"l"(to), "l"(bits) : "memory");
    } else {
      asm volatile("st.release.gpu.global.u64 [%0], %1;" ::"l"(to), "l"(bits) : "memory");
    }
  } else {
    const uint32_t bits = __builtin_bit_cast(uint32_t, value);
    if constexpr (kSystem) {
      asm volatile("st.release.sys.global.u32 [%0], %1;" ::"l"(to), "r"(bits) : "memory");
    } else {
      asm volatile("st.release.gpu.global.u32 [%0], %1;" ::"l"(to), "r"(bits) : "memory");
    }
  }
#else
  emulator::store_release(to, &value, sizeof(T));
#endif
}

/// Orders this thread's memory accesses before and after it, for the threads of a scope.
template <Scope kScope>
HADAL_DEVICE void fence() {
#if defined(__CUDACC__)
  if constexpr (kScope == Scope::kCluster) asm volatile("fence.acq_rel.cluster;" ::: "memory");
  if constexpr (kScope == Scope::kGpu) asm volatile("fence.acq_rel.gpu;" ::: "memory");
  if constexpr (kScope == Scope::kSystem) asm volatile("fence.acq_rel.sys;" ::: "memory");
#else
  emulator::fence();
#endif
}

/// Adds at once and returns what was there, relaxed. T is uint32_t, int32_t, uint64_t or float.
template <typename T>
HADAL_DEVICE T atomic_add(T* to, T value) {
#if defined(__CUDACC__)
  if constexpr (sizeof(T) == 8) {
    return static_cast<T>(atomicAdd(reinterpret_cast<unsigned long long*>(to),
                                    static_cast<unsigned long long>(value)));
  } else {
    return atomicAdd(to, value);
  }
#else
  emulator::begin_atomic(to, sizeof(T));
  const T before = *to;
  *to = before + value;
  emulator::end_atomic();
  return before;
#endif
}

/// atomic_add() that publishes what this thread wrote before and sees what others have published.
template <Scope kScope = Scope::kGpu>
HADAL_DEVICE uint32_t atomic_add_acq_rel(uint32_t* to, uint32_t value) {
#if defined(__CUDACC__)
  uint32_t before;
  if constexpr (kScope == Scope::kSystem) {
    asm volatile("atom.acq_rel.sys.global.add.u32 %0, [%1], %2;"
                 : "=r"(before)
                 : "l"(to), "r"(value)
                 : "memory");
  } else {
    asm volatile("atom.acq_rel.gpu.global.add.u32 %0, [%1], %2;"
                 : "=r"(before)
                 : "l"(to), "r"(value)
                 : "memory");
  }
  return before;
#else
  return atomic_add(to, value);
#endif
}

/// Writes `value` where `expected` is, and returns what was there.
HADAL_DEVICE uint32_t atomic_compare_exchange(uint32_t* at, uint32_t expected, uint32_t value) {
#if defined(__CUDACC__)
  return atomicCAS(at, expected, value);
#else
  emulator::begin_atomic(at, sizeof(*at));
  const uint32_t before = *at;
  if (before == expected) *at = value;
  emulator::end_atomic();
  return before;
#endif
}

/// Adds two adjacent floats, each at once; `to` is a multiple of 8. Returns nothing, so it is
/// cheaper than atomic_add(); the order of additions is not determined.
HADAL_DEVICE void reduce_add(float* to, float first, float second) {
#if defined(__CUDACC__)
  asm volatile("red.global.add.v2.f32 [%0], {%1, %2};" ::"l"(to), "f"(first), "f"(second)
               : "memory");
#else
  atomic_add(to, first);
  atomic_add(to + 1, second);
#endif
}

/// Writes a code to a flag that is still zero: how a kernel says that its input is wrong without
/// a trap, which would end the context. The host reads the flag.
HADAL_DEVICE void raise_flag(uint32_t* flag, uint32_t code) {
  atomic_compare_exchange(flag, 0, code);
}

}  // namespace hadal::gpu::device
