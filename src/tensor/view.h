// Strided views of memory, and the buffers they look at.
//
// View<T, Rank> is a pointer, a shape and strides; it owns nothing and is passed by value. Strides
// count elements, may be zero (a broadcast) and need no order, so a transpose or a column-major
// scale array is the same memory seen through other strides. Tensor<T, Rank> owns a contiguous,
// zeroed buffer aligned to 64 bytes (a cache line and an AVX-512 register).
//
//   Tensor<float, 2> x({m, k});
//   View<float, 2> block = x.view().slice(0, row, row + 128).slice(1, col, col + 128);
//   block(i, j) = 1;  block.row(i);  block.transpose();
//
// Element access is checked in builds without NDEBUG; slicing, which is not done per element, is
// always checked. A view of const elements is made from a view of mutable ones implicitly. Views
// may be read from many threads; writing through them follows the rules of the memory itself.
#pragma once

#include <array>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <new>
#include <span>
#include <type_traits>
#include <utility>

#include "base/check.h"

namespace hadal {

template <int Rank>
using Shape = std::array<int64_t, Rank>;

/// Elements of a shape: the product of its extents.
template <size_t Rank>
constexpr int64_t count(const std::array<int64_t, Rank>& shape) {
  int64_t product = 1;
  for (const int64_t extent : shape) product *= extent;
  return product;
}

/// Strides of a contiguous array, last index fastest.
template <size_t Rank>
constexpr std::array<int64_t, Rank> row_major_strides(const std::array<int64_t, Rank>& shape) {
  std::array<int64_t, Rank> strides{};
  int64_t step = 1;
  for (size_t d = Rank; d-- > 0;) {
    strides[d] = step;
    step *= shape[d];
  }
  return strides;
}

template <typename T, int Rank>
class View {
  static_assert(Rank >= 1);

 public:
  constexpr View() = default;

  /// Contiguous memory, last index fastest.
  constexpr View(T* data, const Shape<Rank>& shape) : View(data, shape, row_major_strides(shape)) {}

  constexpr View(T* data, const Shape<Rank>& shape, const Shape<Rank>& strides)
      : data_(data), shape_(shape), strides_(strides) {
    for (const int64_t extent : shape) DCHECK(extent >= 0);
  }

  template <typename U>
    requires std::same_as<const U, T> && (!std::is_const_v<U>)
  constexpr View(const View<U, Rank>& other) : View(other.data(), other.shape(), other.strides()) {}

  constexpr T* data() const { return data_; }
  constexpr const Shape<Rank>& shape() const { return shape_; }
  constexpr const Shape<Rank>& strides() const { return strides_; }
  constexpr int64_t extent(int dim) const { return shape_[dim]; }
  constexpr int64_t stride(int dim) const { return strides_[dim]; }
  constexpr int64_t size() const { return count(shape_); }
  constexpr bool empty() const { return size() == 0; }

  template <std::integral... Index>
    requires(sizeof...(Index) == Rank)
  constexpr T& operator()(Index... index) const {
    const Shape<Rank> at{static_cast<int64_t>(index)...};
    int64_t offset = 0;
    for (int d = 0; d < Rank; ++d) {
      DCHECK(at[d] >= 0 && at[d] < shape_[d], "view index out of range");
      offset += at[d] * strides_[d];
    }
    return data_[offset];
  }

  /// The view with its first index fixed.
  constexpr View<T, Rank - 1> row(int64_t index) const
    requires(Rank > 1)
  {
    DCHECK(index >= 0 && index < shape_[0], "view row out of range");
    Shape<Rank - 1> shape;
    Shape<Rank - 1> strides;
    for (int d = 1; d < Rank; ++d) {
      shape[d - 1] = shape_[d];
      strides[d - 1] = strides_[d];
    }
    return {data_ + index * strides_[0], shape, strides};
  }

  /// Indices [begin, end) of one dimension. Empty slices are allowed.
  constexpr View slice(int dim, int64_t begin, int64_t end) const {
    CHECK(dim >= 0 && dim < Rank, "slice of a dimension that the view does not have");
    CHECK(begin >= 0 && begin <= end && end <= shape_[dim], "slice out of range");
    View result = *this;
    result.data_ += begin * strides_[dim];
    result.shape_[dim] = end - begin;
    return result;
  }

  /// The view with two indices exchanged; no element moves.
  constexpr View transpose(int dim0 = 0, int dim1 = 1) const
    requires(Rank > 1)
  {
    CHECK(dim0 >= 0 && dim0 < Rank && dim1 >= 0 && dim1 < Rank, "no such dimension");
    View result = *this;
    std::swap(result.shape_[dim0], result.shape_[dim1]);
    std::swap(result.strides_[dim0], result.strides_[dim1]);
    return result;
  }

  /// Whether the elements lie densely, last index fastest. The stride of an extent of 1 is
  /// irrelevant, and a view without elements is contiguous.
  constexpr bool is_contiguous() const {
    if (empty()) return true;
    int64_t step = 1;
    for (int d = Rank; d-- > 0;) {
      if (shape_[d] != 1 && strides_[d] != step) return false;
      step *= shape_[d];
    }
    return true;
  }

  /// All elements in order. The view must be contiguous.
  constexpr std::span<T> span() const {
    CHECK(is_contiguous(), "span of a view that is not contiguous");
    return {data_, static_cast<size_t>(size())};
  }

 private:
  T* data_ = nullptr;
  Shape<Rank> shape_{};
  Shape<Rank> strides_{};
};

/// A span as a view of rank 1.
template <typename T>
constexpr View<T, 1> view_of(std::span<T> items) {
  return {items.data(), {static_cast<int64_t>(items.size())}};
}

/// An owning, contiguous array, zeroed at construction. Moves are cheap and leave an empty tensor;
/// copies are asked for by clone().
template <typename T, int Rank>
class Tensor {
  static_assert(std::is_trivially_copyable_v<T> && !std::is_const_v<T>);

 public:
  static constexpr size_t kAlignment = 64;

  Tensor() = default;

  /// Extents must be >= 0 and the bytes must fit an int64_t. Throws std::bad_alloc as a vector
  /// does.
  explicit Tensor(const Shape<Rank>& shape) : shape_(shape) {
    int64_t bytes = sizeof(T);
    for (const int64_t extent : shape) {
      CHECK(extent >= 0 && !__builtin_mul_overflow(bytes, extent, &bytes), "tensor too large");
    }
    data_.reset(
        static_cast<T*>(::operator new(static_cast<size_t>(bytes), std::align_val_t{kAlignment})));
    std::memset(static_cast<void*>(data_.get()), 0, static_cast<size_t>(bytes));
  }

  Tensor(Tensor&& other) noexcept
      : data_(std::move(other.data_)), shape_(std::exchange(other.shape_, {})) {}
  Tensor& operator=(Tensor&& other) noexcept {
    data_ = std::move(other.data_);
    shape_ = std::exchange(other.shape_, {});
    return *this;
  }

  Tensor clone() const {
    Tensor copy(shape_);
    if (size() > 0) {
      std::memcpy(static_cast<void*>(copy.data()), data(), static_cast<size_t>(size()) * sizeof(T));
    }
    return copy;
  }

  T* data() { return data_.get(); }
  const T* data() const { return data_.get(); }
  const Shape<Rank>& shape() const { return shape_; }
  int64_t extent(int dim) const { return shape_[dim]; }
  int64_t size() const { return count(shape_); }

  View<T, Rank> view() { return {data(), shape_}; }
  View<const T, Rank> view() const { return {data(), shape_}; }
  std::span<T> span() { return {data(), static_cast<size_t>(size())}; }
  std::span<const T> span() const { return {data(), static_cast<size_t>(size())}; }

  template <std::integral... Index>
  T& operator()(Index... index) {
    return view()(index...);
  }
  template <std::integral... Index>
  const T& operator()(Index... index) const {
    return view()(index...);
  }

 private:
  struct Free {
    void operator()(T* data) const {
      ::operator delete(static_cast<void*>(data), std::align_val_t{kAlignment});
    }
  };

  std::unique_ptr<T, Free> data_;
  Shape<Rank> shape_{};
};

}  // namespace hadal
