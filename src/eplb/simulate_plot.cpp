// The report of a simulation: SVG and JSON.
#include <algorithm>
#include <cmath>

#include <fmt/core.h>
#include <nlohmann/json.hpp>

#include "eplb/simulate.h"

namespace hadal::eplb {
namespace {

// Okabe and Ito's colours, told apart by most colour-blind readers; one set for each background.
constexpr const char* kLight[] = {"#666666", "#d55e00", "#cc79a7", "#0072b2",
                                  "#009e73", "#b8860b", "#56b4e9", "#000000"};
constexpr const char* kDark[] = {"#a8a8a8", "#ff8a3d", "#f0a3cd", "#5ab4f0",
                                 "#35d0a0", "#f0c040", "#9fd8ff", "#ffffff"};
constexpr int kColors = 8;

constexpr double kWidth = 960;
constexpr double kLeft = 72;
constexpr double kRight = 936;
constexpr double kLegendTop = 44;
constexpr double kLegendLine = 20;
constexpr double kUpperHeight = 280;
constexpr double kLowerHeight = 140;
constexpr double kGap = 56;
// A balanced GPU has an excess of 0, which a logarithm cannot show: everything below ends here.
constexpr double kLeastExcess = 1e-4;

std::string escape(std::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&': out += "&amp;"; break;
      case '<': out += "&lt;"; break;
      case '>': out += "&gt;"; break;
      case '"': out += "&quot;"; break;
      default: out += static_cast<unsigned char>(c) < 0x20 ? ' ' : c;
    }
  }
  return out;
}

/// A panel that maps (window, value) to the page, with a linear or logarithmic axis.
struct Panel {
  double top, height, low, high;
  bool logarithmic;
  int windows;

  double x(double window) const {
    return kLeft + (kRight - kLeft) * (window - 1) / std::max(1, windows - 2);
  }
  double y(double value) const {
    const double at = logarithmic
                          ? std::log10(std::clamp(value, low, high) / low) / std::log10(high / low)
                          : (value - low) / (high - low);
    return top + height * (1 - at);
  }
};

std::string style() {
  std::string out =
      "<style>\n"
      "svg{background:#fff}text{font:13px system-ui,sans-serif;fill:#222}.title{font-weight:600}"
      ".tick{font-size:11px;fill:#555}.grid{stroke:#ddd;stroke-width:1}"
      ".line{fill:none;stroke-width:1.8;stroke-linejoin:round}.dash{stroke-dasharray:6 3}\n";
  for (int i = 0; i < kColors; ++i) out += fmt::format(".c{}{{stroke:{}}}", i, kLight[i]);
  out +=
      "\n@media (prefers-color-scheme:dark){svg{background:#16181c}text{fill:#e6e6e6}"
      ".tick{fill:#a0a0a0}.grid{stroke:#3a3d42}";
  for (int i = 0; i < kColors; ++i) out += fmt::format(".c{}{{stroke:{}}}", i, kDark[i]);
  return out + "}\n</style>\n";
}

std::string line_class(size_t policy) {
  return fmt::format("line c{}{}", policy % kColors, policy >= kColors ? " dash" : "");
}

/// Steps of 1, 2 or 5 times a power of ten, about `count` of them up to `high`.
double tick_step(double high, int count) {
  const double power = std::pow(10.0, std::floor(std::log10(high / count)));
  for (const double factor : {1.0, 2.0, 5.0}) {
    if (high / (power * factor) <= count) return power * factor;
  }
  return power * 10;
}

void draw_tick(std::string& out, const Panel& panel, double value, const std::string& label) {
  out += fmt::format(
      "<line class=\"grid\" x1=\"{:g}\" x2=\"{:g}\" y1=\"{:.1f}\" y2=\"{:.1f}\"/>"
      "<text class=\"tick\" text-anchor=\"end\" x=\"{:g}\" y=\"{:.1f}\">{}</text>\n",
      kLeft, kRight, panel.y(value), panel.y(value), kLeft - 8, panel.y(value) + 4, label);
}

void draw_axes(std::string& out, const Panel& panel) {
  if (panel.logarithmic) {
    const bool dense = panel.high / panel.low <= 1001;
    const int powers = static_cast<int>(std::log10(panel.high / panel.low) + 1e-6);
    for (int i = 0; i <= powers; ++i) {
      const double power = panel.low * std::pow(10.0, i);
      for (const double factor : {1.0, 2.0, 5.0}) {
        const double value = power * factor;
        if (value > panel.high * 1.001 || (factor > 1 && !dense)) continue;
        draw_tick(out, panel, value, fmt::format("{:g}%", 100 * value));
      }
    }
  } else {
    const double step = tick_step(panel.high, 5);
    for (int i = 0; step * i <= panel.high * 1.001; ++i) {
      draw_tick(out, panel, step * i, fmt::format("{:g}%", 100 * step * i));
    }
  }
  const int step = std::max(1, static_cast<int>(tick_step(std::max(1, panel.windows - 1), 12)));
  for (int window = 1; window < panel.windows; ++window) {
    if (window != 1 && window % step != 0) continue;
    out += fmt::format(
        "<text class=\"tick\" text-anchor=\"middle\" x=\"{:.1f}\" y=\"{:.1f}\">{}</text>",
        panel.x(window), panel.top + panel.height + 16, window);
  }
  out += '\n';
}

template <typename Value>
void draw_line(std::string& out, const Panel& panel, size_t policy, size_t points, Value value) {
  out += fmt::format("<polyline class=\"{}\" points=\"", line_class(policy));
  for (size_t i = 0; i < points; ++i) {
    out += fmt::format("{}{:.1f},{:.1f}", i == 0 ? "" : " ", panel.x(static_cast<double>(i + 1)),
                       panel.y(value(i)));
  }
  out += "\"/>\n";
}

void draw_legend(std::string& out, const SimulationResult& result, double slots) {
  for (size_t p = 0; p < result.policies.size(); ++p) {
    const PolicyHistory& policy = result.policies[p];
    const double x = p % 2 == 0 ? kLeft : (kLeft + kRight) / 2;
    const size_t line = p / 2;
    const double y = kLegendTop + kLegendLine * static_cast<double>(line);
    const double moved = static_cast<double>(policy.total_moves) /
                         (slots * std::max<double>(1, static_cast<double>(policy.moves.size())));
    out += fmt::format(
        "<line class=\"{}\" x1=\"{:g}\" x2=\"{:g}\" y1=\"{:g}\" y2=\"{:g}\"/>"
        "<text x=\"{:g}\" y=\"{:g}\">{}: mean {:.4f}, {:.3g}% moved per window</text>\n",
        line_class(p), x, x + 24, y - 4, y - 4, x + 32, y, escape(policy.name),
        policy.mean_imbalance, 100 * moved);
  }
}

}  // namespace

std::string to_svg(const SimulationResult& result) {
  const double slots = std::max(1.0, static_cast<double>(result.num_layers) * result.num_slots);
  double worst = kLeastExcess;
  double least = 1;
  double moved = 0;
  for (const PolicyHistory& policy : result.policies) {
    for (const double i : policy.imbalance) {
      worst = std::max(worst, i - 1);
      least = std::min(least, std::max(kLeastExcess, i - 1));
    }
    for (const int64_t m : policy.moves) moved = std::max(moved, static_cast<double>(m) / slots);
  }
  const double low = std::pow(10.0, std::floor(std::log10(least) + 1e-9));
  const double high = std::max(low * 10, tick_step(worst, 1));
  const double legend = kLegendLine * std::ceil(static_cast<double>(result.policies.size()) / 2);
  const Panel upper{kLegendTop + legend + 16, kUpperHeight, low, high, true, result.num_windows};
  const Panel lower{upper.top + kUpperHeight + kGap, kLowerHeight, 0,
                    moved > 0 ? moved * 1.05 : 0.01, false,        result.num_windows};
  const double height = lower.top + kLowerHeight + 40;

  std::string out = fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {0:g} {1:g}\" width=\"{0:g}\" "
      "height=\"{1:g}\" role=\"img\">\n<title>Expert load balance over time</title>\n",
      kWidth, height);
  out += style();
  out += fmt::format(
      "<text class=\"title\" x=\"{:g}\" y=\"20\">Excess of the busiest GPU over the mean, "
      "average of {} layers, plan of the window before</text>\n",
      kLeft, result.num_layers);
  draw_legend(out, result, slots);
  draw_axes(out, upper);
  draw_axes(out, lower);
  out += fmt::format("<text class=\"title\" x=\"{:g}\" y=\"{:g}\">Slots moved, of all</text>\n",
                     kLeft, lower.top - 12);
  out +=
      fmt::format("<text class=\"tick\" text-anchor=\"end\" x=\"{:g}\" y=\"{:g}\">window</text>\n",
                  kRight, lower.top + kLowerHeight + 34);
  for (size_t p = 0; p < result.policies.size(); ++p) {
    const PolicyHistory& policy = result.policies[p];
    draw_line(out, upper, p, policy.imbalance.size(),
              [&](size_t i) { return policy.imbalance[i] - 1; });
    draw_line(out, lower, p, policy.moves.size(),
              [&](size_t i) { return static_cast<double>(policy.moves[i]) / slots; });
  }
  return out + "</svg>\n";
}

std::string to_json(const SimulationResult& result) {
  nlohmann::ordered_json policies = nlohmann::ordered_json::array();
  for (const PolicyHistory& policy : result.policies) {
    policies.push_back({{"name", policy.name},
                        {"mean_imbalance", policy.mean_imbalance},
                        {"worst_imbalance", policy.worst_imbalance},
                        {"total_moves", policy.total_moves},
                        {"plans", policy.plans},
                        {"imbalance", policy.imbalance},
                        {"moves", policy.moves}});
  }
  const nlohmann::ordered_json document = {{"windows", result.num_windows},
                                           {"layers", result.num_layers},
                                           {"slots", result.num_slots},
                                           {"policies", policies}};
  return document.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
}

}  // namespace hadal::eplb
