#include "trace/json.h"

#include <nlohmann/json.hpp>

namespace hadal::trace {

std::string dump(const Json& json) {
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace hadal::trace
