// The rules of kv.h, as checks that every engine must pass.
//
//   for (const kv::Rule& rule : kv::rules()) {
//     const auto result = rule.check(store);          // in a fiber of the store's executor
//     ...                                             // its error is what the store does wrong
//   }
//
// Every rule uses keys of its own, so one store serves all of them, and an old one as well.
#pragma once

#include <span>
#include <string_view>

#include "base/error.h"
#include "kv/kv.h"

namespace hadal::kv {

struct Rule {
  std::string_view name;
  Result<> (*check)(Store& store);
  bool waits = false;  // for seconds of the store's clock
};

std::span<const Rule> rules();

}  // namespace hadal::kv
