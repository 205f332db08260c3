// Finding the end of things in JSON text, 16 bytes at a time.
//
// All functions take a cursor and the end of the text and return where the thing ends, or null if
// the text ends first. They read up to kScanPadding bytes beyond `end`, so the buffer must have
// them; it fills them with kScanFill, which is no blank, no digit and no structural character, so
// that no byte loop needs a bound of its own.
//
// A byte <= ' ' outside of a string is a blank: writers that crash leave NULs, and others put raw
// control characters anywhere.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>

#ifdef __SSE2__
#include <emmintrin.h>
#endif

namespace hadal::trace {

inline constexpr size_t kScanPadding = 64;
inline constexpr char kScanFill = '\xff';

/// Sixteen bytes of text; sets of them are bit masks, the first byte lowest.
class Scan16 {
 public:
#ifdef __SSE2__
  explicit Scan16(const char* p) : v_(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))) {}
  uint32_t same(Scan16 other) const { return mask(_mm_cmpeq_epi8(v_, other.v_)); }
  uint32_t either(char a, char b) const {
    return mask(
        _mm_or_si128(_mm_cmpeq_epi8(v_, _mm_set1_epi8(a)), _mm_cmpeq_epi8(v_, _mm_set1_epi8(b))));
  }
  /// Quotes and brackets of all four kinds; bit 5 is all that '[' and '{', ']' and '}' differ in.
  uint32_t structure() const {
    const __m128i folded = _mm_or_si128(v_, _mm_set1_epi8(0x20));
    return mask(_mm_or_si128(_mm_cmpeq_epi8(v_, _mm_set1_epi8('"')),
                             _mm_or_si128(_mm_cmpeq_epi8(folded, _mm_set1_epi8('{')),
                                          _mm_cmpeq_epi8(folded, _mm_set1_epi8('}')))));
  }
  /// Bytes > ' '.
  uint32_t visible() const {
    return mask(_mm_cmpeq_epi8(_mm_subs_epu8(v_, _mm_set1_epi8(' ')), _mm_setzero_si128())) ^
           0xffff;
  }

 private:
  static uint32_t mask(__m128i v) { return static_cast<uint32_t>(_mm_movemask_epi8(v)); }
  __m128i v_;
#else
  explicit Scan16(const char* p) { std::memcpy(bytes_, p, 16); }
  uint32_t same(const Scan16& other) const {
    uint32_t m = 0;
    for (int i = 0; i < 16; ++i) m |= static_cast<uint32_t>(bytes_[i] == other.bytes_[i]) << i;
    return m;
  }
  uint32_t either(char x, char y) const {
    return mask([&](char b) { return b == x || b == y; });
  }
  uint32_t structure() const {
    return mask([](char b) { return b == '"' || (b | 0x20) == '{' || (b | 0x20) == '}'; });
  }
  uint32_t visible() const {
    return mask([](char b) { return static_cast<unsigned char>(b) > ' '; });
  }

 private:
  template <typename F>
  uint32_t mask(F f) const {
    uint32_t m = 0;
    for (int i = 0; i < 16; ++i) m |= static_cast<uint32_t>(f(bytes_[i])) << i;
    return m;
  }
  char bytes_[16];
#endif
};

/// The first byte > ' ' at or after `p`; stops at `end`, thanks to the padding.
inline const char* skip_blanks(const char* p) {
  if (static_cast<unsigned char>(*p) > ' ') [[likely]]
    return p;
  for (;; p += 16) {
    const uint32_t visible = Scan16(p).visible();
    if (visible != 0) return p + std::countr_zero(visible);
  }
}

/// From the first character of a string to its closing quote.
inline const char* string_end(const char* p, const char* end) {
  for (;;) {
    const uint32_t stops = Scan16(p).either('"', '\\');
    if (stops == 0) {
      p += 16;
      if (p >= end) return nullptr;
      continue;
    }
    p += std::countr_zero(stops);
    if (p >= end) return nullptr;
    if (*p == '"') return p;
    p += 2;  // whatever the backslash escapes
    if (p >= end) return nullptr;
  }
}

/// From the '[' or '{' of a container to the byte after its end. Does not tell ']' from '}': what
/// is skipped is not judged. Depth costs nothing.
inline const char* container_end(const char* p, const char* end) {
  int64_t depth = 0;
  while (p < end) {
    uint32_t stops = Scan16(p).structure();
    const char* next = p + 16;
    while (stops != 0) {
      const char* at = p + std::countr_zero(stops);
      if (at >= end) return nullptr;
      stops &= stops - 1;
      if (*at == '"') {
        at = string_end(at + 1, end);
        if (at == nullptr) return nullptr;
        next = at + 1;
        if (next >= p + 16) break;
        stops &= ~uint32_t{0} << (next - p);
        next = p + 16;
      } else if (*at == '{' || *at == '[') {
        ++depth;
      } else if (--depth == 0) {
        return at + 1;
      }
    }
    p = next;
  }
  return nullptr;
}

}  // namespace hadal::trace
