// From Result to Python's exceptions, for the halves of the package that compute.
#pragma once

#include <stdexcept>
#include <type_traits>
#include <utility>

#include <pybind11/pybind11.h>

#include "base/error.h"

namespace hadal::python {

/// The value. An error becomes ValueError if the caller's argument is at fault, else RuntimeError.
template <typename T>
T unwrap(Result<T> result) {
  if (result) {
    if constexpr (std::is_void_v<T>) {
      return;
    } else {
      return *std::move(result);
    }
  }
  const Error& error = result.error();
  if (error.code == Code::kInvalidArgument) throw pybind11::value_error(error.message);
  throw std::runtime_error(error.message);
}

}  // namespace hadal::python
