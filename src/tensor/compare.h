// How far a result is from its reference.
//
// Kernels are judged by two kinds of number. calc_diff and cosine see the whole tensor:
//
//   calc_diff(x, y) = 1 - 2 * sum(x*y) / sum(x*x + y*y)
//
// is DeepGEMM's and FlashMLA's measure, about half of the squared relative error, blind to a few
// wrong elements. The element errors see each one. A test needs both. It is computed in the equal
// form sum((x-y)^2) / sum(x*x + y*y), which does not cancel: it is never negative and resolves
// differences far below 1e-16.
//
// x is the result, y the reference; they have one shape. Everything is computed in double, in index
// order, so the figures are the same on every machine. Nothing is hidden: with a NaN anywhere
// calc_diff and cosine are NaN, which no threshold accepts, and the element errors are infinite.
// Equal infinities count as equal elements, although calc_diff and cosine are then NaN.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>

#include "base/check.h"
#include "tensor/dtype.h"
#include "tensor/view.h"

namespace hadal {

struct Comparison {
  double calc_diff = 0;      // 0 where both are all zero (or empty), 1 where one is
  double cosine = 1;         // sum(x*y) / sqrt(sum(x*x) * sum(y*y)); both zero: 1, one zero: 0
  double max_abs_error = 0;  // max |x - y|
  double max_rel_error = 0;  // max |x - y| / |y|, with 0/0 = 0
  int64_t worst = -1;  // index in row-major order of the first max_abs_error; -1: none differs
};

constexpr double to_double(double x) {
  return x;
}
template <typename T>
constexpr double to_double(T x) {
  return static_cast<double>(to_float(x));
}

/// |x - y|; 0 for equal infinities, infinity where a NaN or one infinity is involved.
inline double abs_error(double x, double y) {
  if (x == y) return 0;
  const double error = std::abs(x - y);
  return std::isnan(error) ? std::numeric_limits<double>::infinity() : error;
}

namespace compare_detail {

/// f(x, y) for every pair of elements, in row-major order.
template <typename X, typename Y, int Rank, typename F>
void for_each_pair(View<X, Rank> x, View<Y, Rank> y, F&& f) {
  CHECK(x.shape() == y.shape(), "compared tensors must have one shape");
  for (int64_t i = 0; i < x.extent(0); ++i) {
    if constexpr (Rank == 1) {
      f(to_double(x(i)), to_double(y(i)));
    } else {
      for_each_pair(x.row(i), y.row(i), f);
    }
  }
}

}  // namespace compare_detail

/// All figures in one pass. The views must have one shape.
template <typename X, typename Y, int Rank>
Comparison compare(View<X, Rank> x, View<Y, Rank> y) {
  Comparison result;
  double xx = 0;
  double yy = 0;
  double xy = 0;
  double dd = 0;
  int64_t index = 0;
  compare_detail::for_each_pair(x, y, [&](double a, double b) {
    xx += a * a;
    yy += b * b;
    xy += a * b;
    dd += (a - b) * (a - b);
    const double error = abs_error(a, b);
    if (error > result.max_abs_error) {
      result.max_abs_error = error;
      result.worst = index;
    }
    if (error > 0) {
      const double relative = std::isinf(error) ? error : error / std::abs(b);
      result.max_rel_error = std::fmax(result.max_rel_error, relative);
    }
    ++index;
  });
  // Comparisons with zero are false for NaN sums, which then reach the figures.
  if (xx + yy != 0) {
    result.calc_diff = dd / (xx + yy);
    const double norms = std::sqrt(xx) * std::sqrt(yy);
    result.cosine = norms == 0 ? 0 : xy / norms;
  }
  return result;
}

template <typename X, typename Y, int Rank>
double calc_diff(View<X, Rank> x, View<Y, Rank> y) {
  return compare(x, y).calc_diff;
}

/// |x - y| <= absolute + relative * |y| for every element (numpy's rule); NaN is close to nothing.
template <typename X, typename Y, int Rank>
bool all_close(View<X, Rank> x, View<Y, Rank> y, double relative, double absolute) {
  bool close = true;
  compare_detail::for_each_pair(x, y, [&](double a, double b) {
    const double error = abs_error(a, b);
    close = close &&
            (error == 0 || (std::isfinite(error) && error <= absolute + relative * std::abs(b)));
  });
  return close;
}

}  // namespace hadal
