// Heat maps of GPU loads: one row per layer, one column per GPU, the same colour scale in every
// panel, so that "before" and "after" can be compared at a glance.
//
// The value of a cell is load / mean load of its row. 1 is what a perfect plan gives every GPU, so
// the scale is diverging and neutral there: idle GPUs are blue, overloaded ones orange to red. A
// panel that fades into the background is a good plan.
//
// Pure functions from numbers to text; any thread.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace hadal::eplb {

/// One heat map. Spans must outlive the call.
struct HeatPanel {
  std::string_view title = {};    // "before: contiguous, no replicas"
  std::string_view summary = {};  // "max/mean 2.30, worst layer 3.91"
  int rows = 0;                   // layers, at least 1
  int columns = 0;                // GPUs, at least 1
  std::span<const double> load;   // [rows][columns], finite and >= 0
  std::span<const double> mean;   // [rows] what a cell of value 1 carries
  int first_row = 0;              // the number of row 0, for labels
};

/// Where a scale ends: the largest load / mean of all panels, and at least 1.1.
double heat_scale(std::span<const HeatPanel> panels);

/// A self-contained SVG document: the panels side by side, row and column numbers, a legend, a
/// tooltip per cell (in up to 40 000 cells; beyond that per row), and colours that follow the
/// viewer's light or dark theme.
std::string heatmap_svg(std::string_view title, std::span<const HeatPanel> panels);

/// One panel for a terminal of `width` characters, with title, legend and newlines. With `colour`
/// cells are 256-colour blocks, otherwise characters from " " (idle) over "-" (even) to "@" (the
/// scale's end). Where the columns do not fit, a cell shows the largest of several neighbouring
/// GPUs and the title says so.
std::string heatmap_text(const HeatPanel& panel, double scale, int width, bool colour);

}  // namespace hadal::eplb
