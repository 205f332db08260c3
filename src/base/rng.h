// Random numbers that are the same on every platform, compiler and library.
//
// The generator is xoshiro256++ (Blackman and Vigna, "Scrambled linear pseudorandom number
// generators", 2019) with its state filled by SplitMix64. docs/formats/random.md specifies every
// function here, with golden values: data placement, simulations and tests depend on them, so a
// change of any number is a change of format. std::uniform_*_distribution and std::shuffle are not
// used anywhere, because their output is unspecified.
//
// Not for cryptography. An Rng belongs to one thread; give each task its own with fork().
#pragma once

#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

namespace hadal {

/// One step of SplitMix64: advances `state` and returns 64 well-mixed bits.
constexpr uint64_t splitmix64(uint64_t& state) {
  state += 0x9e3779b97f4a7c15u;
  uint64_t z = state;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

class Rng {
 public:
  /// Equal seeds give equal streams; seeds may be small and consecutive.
  explicit constexpr Rng(uint64_t seed) {
    for (uint64_t& word : state_) word = splitmix64(seed);
  }

  /// A generator with exactly these four words, which must not all be zero (zero is a fixed point).
  static constexpr Rng from_state(const std::array<uint64_t, 4>& state) { return Rng(state); }

  /// The next 64 bits.
  constexpr uint64_t next() {
    const uint64_t result = rotate_left(state_[0] + state_[3], 23) + state_[0];
    const uint64_t t = state_[1] << 17;
    state_[2] ^= state_[0];
    state_[3] ^= state_[1];
    state_[1] ^= state_[2];
    state_[0] ^= state_[3];
    state_[2] ^= t;
    state_[3] = rotate_left(state_[3], 45);
    return result;
  }

  /// Uniform in [0, bound); bound 0 gives 0. Unbiased, by Lemire's multiply-and-reject
  /// ("Fast random integer generation in an interval", 2019). Draws at least once, also for 0
  /// and 1.
  constexpr uint64_t below(uint64_t bound) {
    unsigned __int128 product = static_cast<unsigned __int128>(next()) * bound;
    if (static_cast<uint64_t>(product) < bound) {
      const uint64_t threshold = (0 - bound) % bound;  // 2^64 mod bound; bound is not 0 here
      while (static_cast<uint64_t>(product) < threshold) {
        product = static_cast<unsigned __int128>(next()) * bound;
      }
    }
    return static_cast<uint64_t>(product >> 64);
  }

  /// Uniform in [0, 1): the top 53 bits of next() times 2^-53, exact.
  constexpr double uniform() { return static_cast<double>(next() >> 11) * 0x1.0p-53; }

  /// True with probability p.
  constexpr bool chance(double p) { return uniform() < p; }

  /// Standard normal by the Box-Muller transform, one value per two draws (the sine half is
  /// dropped, so that a call's cost and draws never depend on earlier calls). Equal across
  /// platforms as far as log and cos are: to the last bit or two, so formats do not use it.
  double normal() {
    const double radius = std::sqrt(-2.0 * std::log(1.0 - uniform()));
    return radius * std::cos(6.283185307179586 * uniform());
  }

  /// A generator for the task named `key`, with a stream of its own. Depends on the present state
  /// and on the key alone and does not advance this generator: forking twice with one key gives one
  /// stream. Different keys of one state never give the same child, nor do different states with
  /// one key; the whole 256 bits take part, so that a billion forks do not collide either.
  constexpr Rng fork(uint64_t key) const {
    std::array<uint64_t, 4> child{};
    uint64_t mix = splitmix64(key);
    for (size_t i = 0; i < child.size(); ++i) {
      mix ^= state_[i];
      mix = splitmix64(mix);
      child[i] = mix;
    }
    return Rng(child);
  }

 private:
  explicit constexpr Rng(const std::array<uint64_t, 4>& state) : state_(state) {}

  static constexpr uint64_t rotate_left(uint64_t x, int k) { return (x << k) | (x >> (64 - k)); }

  std::array<uint64_t, 4> state_{};
};

/// Fisher-Yates from the back: for i = n-1 .. 1 swap(items[i], items[rng.below(i + 1)]).
template <typename T>
constexpr void shuffle(std::span<T> items, Rng& rng) {
  for (size_t i = items.size(); i > 1; --i) {
    using std::swap;
    swap(items[i - 1], items[rng.below(i)]);
  }
}

}  // namespace hadal
