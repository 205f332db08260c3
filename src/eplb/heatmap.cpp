#include "eplb/heatmap.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <iterator>

#include <fmt/format.h>

#include "base/check.h"

namespace hadal::eplb {
namespace {

constexpr double kScaleLeast = 1.1;
constexpr size_t kTooltipCellsMax = 40'000;

// Levels of the diverging scale: kNeutral is load == mean, below it idle, above it overloaded.
constexpr int kNeutral = 6;
constexpr int kLevels = 19;

struct Rgb {
  int r, g, b;
};

Rgb mix(Rgb a, Rgb b, double t) {
  const auto channel = [t](int x, int y) { return static_cast<int>(std::lround(x + (y - x) * t)); };
  return {channel(a.r, b.r), channel(a.g, b.g), channel(a.b, b.b)};
}

/// The colour of a level between three anchors on each side of the neutral one.
Rgb level_colour(int level, bool dark) {
  const Rgb neutral = dark ? Rgb{42, 46, 54} : Rgb{240, 240, 237};
  const std::array<Rgb, 2> cold = dark ? std::array<Rgb, 2>{Rgb{38, 84, 128}, Rgb{92, 172, 238}}
                                       : std::array<Rgb, 2>{Rgb{158, 197, 230}, Rgb{38, 100, 166}};
  const std::array<Rgb, 2> hot = dark ? std::array<Rgb, 2>{Rgb{196, 110, 36}, Rgb{255, 86, 66}}
                                      : std::array<Rgb, 2>{Rgb{245, 160, 72}, Rgb{170, 14, 36}};
  const std::array<Rgb, 2>& side = level < kNeutral ? cold : hot;
  const double t = level < kNeutral ? double(kNeutral - level) / kNeutral
                                    : double(level - kNeutral) / (kLevels - 1 - kNeutral);
  return t < 0.5 ? mix(neutral, side[0], 2 * t) : mix(side[0], side[1], 2 * t - 1);
}

double ratio(const HeatPanel& panel, int row, int column) {
  const double load = panel.load[static_cast<size_t>(row) * panel.columns + column];
  return panel.mean[row] > 0 ? load / panel.mean[row] : 1;
}

int level_of(double value, double scale) {
  if (value < 1) return static_cast<int>(std::lround(value * kNeutral));
  const double t = std::min(std::log(value) / std::log(scale), 1.0);
  return kNeutral + static_cast<int>(std::lround(t * (kLevels - 1 - kNeutral)));
}

/// The value in the middle of a level: the inverse of level_of(), for legends.
double level_value(int level, double scale) {
  if (level <= kNeutral) return double(level) / kNeutral;
  return std::pow(scale, double(level - kNeutral) / (kLevels - 1 - kNeutral));
}

/// The length of the UTF-8 sequence that `text` begins with; 0 if it is none. File names may be any
/// bytes, and one bad byte would make the whole document unreadable.
size_t utf8_length(std::string_view text) {
  const auto byte = static_cast<unsigned char>(text.front());
  const size_t length = byte < 0x80                   ? 1
                        : byte >= 0xc2 && byte < 0xe0 ? 2
                        : byte >= 0xe0 && byte < 0xf0 ? 3
                        : byte >= 0xf0 && byte < 0xf5 ? 4
                                                      : 0;
  if (length > text.size()) return 0;
  for (size_t i = 1; i < length; ++i) {
    if ((static_cast<unsigned char>(text[i]) & 0xc0) != 0x80) return 0;
  }
  return length;
}

std::string escaped(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    const size_t length = utf8_length(text);
    if (length != 1) {
      out += length == 0 ? "?" : text.substr(0, length);
      text.remove_prefix(std::max<size_t>(length, 1));
      continue;
    }
    const char c = text.front();
    text.remove_prefix(1);
    switch (c) {
      case '&': out += "&amp;"; break;
      case '<': out += "&lt;"; break;
      case '>': out += "&gt;"; break;
      case '"': out += "&quot;"; break;
      default: out += static_cast<unsigned char>(c) < ' ' ? ' ' : c;
    }
  }
  return out;
}

/// At most `room` bytes of a text; a longer one loses its middle, where paths have the least to
/// say.
std::string clipped(std::string_view text, size_t room) {
  if (text.size() <= room || room < 8) return std::string(text);
  const size_t head = (room - 3) / 2;
  return fmt::format("{}...{}", text.substr(0, head), text.substr(text.size() - (room - 3 - head)));
}

/// Every `step` rows or columns get a number: 1, 2, 5, 10, ... so that labels keep `pixels` apart.
int label_step(double cell, double pixels) {
  constexpr std::array<int, 3> kSteps = {1, 2, 5};
  for (int decade = 1;; decade *= 10) {
    for (const int step : kSteps) {
      if (step * decade * cell >= pixels || decade > 1'000'000) return step * decade;
    }
  }
}

struct Layout {
  double cell_width = 0, cell_height = 0;
  double panel_width = 0, grid_top = 0, grid_height = 0, width = 0, height = 0;

  static constexpr double kMargin = 28, kLabels = 34, kGap = 36, kTop = 112, kBottom = 96;
  static constexpr double kPanelLeast = 300;  // room for the title of a panel of few columns

  static constexpr double kTitleCharacter = 11.5, kHeadCharacter = 8.2;  // wide fonts fit as well

  Layout(std::string_view title, std::span<const HeatPanel> panels) {
    int columns = 1, rows = 1;
    for (const HeatPanel& panel : panels) {
      columns = std::max(columns, panel.columns);
      rows = std::max(rows, panel.rows);
    }
    cell_width = std::clamp(560.0 / columns, 2.0, 36.0);
    cell_height = std::clamp(760.0 / rows, 4.0, 22.0);
    panel_width = kLabels + std::max(kPanelLeast, columns * cell_width);
    grid_top = kTop;
    grid_height = rows * cell_height;
    const auto count = static_cast<double>(panels.size());
    width = 2 * kMargin + std::max(count * panel_width + (count - 1) * kGap,
                                   static_cast<double>(title.size()) * kTitleCharacter);
    height = grid_top + grid_height + kBottom;
  }

  double panel_left(size_t i) const {
    return kMargin + static_cast<double>(i) * (panel_width + kGap);
  }
};

class SvgWriter {
 public:
  SvgWriter(std::string_view title, std::span<const HeatPanel> panels)
      : title_(title), panels_(panels), layout_(title, panels), scale_(heat_scale(panels)) {
    size_t cells = 0;
    for (const HeatPanel& panel : panels) cells += size_t(panel.rows) * panel.columns;
    cell_tooltips_ = cells <= kTooltipCellsMax;
  }

  std::string write() {
    put("<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{0:.0f}\" height=\"{1:.0f}\" "
        "viewBox=\"0 0 {0:.0f} {1:.0f}\" role=\"img\">\n",
        layout_.width, layout_.height);
    put("<title>{}</title>\n", escaped(title_));
    style();
    put("<rect class=\"page\" width=\"100%\" height=\"100%\"/>\n");
    put("<text class=\"h1\" x=\"{}\" y=\"40\">{}</text>\n", Layout::kMargin, escaped(title_));
    for (size_t i = 0; i < panels_.size(); ++i) panel(panels_[i], layout_.panel_left(i));
    legend();
    put("</svg>\n");
    return fmt::to_string(out_);
  }

 private:
  template <typename... Args>
  void put(fmt::format_string<Args...> format, Args&&... args) {
    fmt::format_to(std::back_inserter(out_), format, std::forward<Args>(args)...);
  }

  void style_colours(bool dark) {
    for (int level = 0; level < kLevels; ++level) {
      const Rgb c = level_colour(level, dark);
      put(".c{}{{fill:#{:02x}{:02x}{:02x}}}", level, c.r, c.g, c.b);
    }
    put("\n");
  }

  void style() {
    put("<style>\n"
        "text{{font-family:system-ui,-apple-system,'Segoe UI',Roboto,'DejaVu Sans',sans-serif;"
        "font-size:11px;fill:#5a5f66}}\n"
        ".h1{{font-size:19px;font-weight:600;fill:#1b1e22}}.h2{{font-size:13px;font-weight:600;"
        "fill:#1b1e22}}\n"
        ".sum{{font-size:12px}}.page{{fill:#ffffff}}.frame{{fill:none;stroke:#c9ccd1}}\n"
        ".r{{text-anchor:end}}.m{{text-anchor:middle}}\n"
        "g.k rect:hover{{stroke:#1b1e22;stroke-width:1.5}}\n");
    style_colours(false);
    put("@media (prefers-color-scheme:dark){{\ntext{{fill:#9aa1ab}}.h1,.h2{{fill:#eceef1}}"
        ".page{{fill:#16181c}}.frame{{stroke:#3c414a}}g.k rect:hover{{stroke:#ffffff}}\n");
    style_colours(true);
    put("}}\n</style>\n");
  }

  void panel(const HeatPanel& panel, double left) {
    const double x0 = left + Layout::kLabels, y0 = layout_.grid_top;
    const double w = layout_.cell_width, h = layout_.cell_height;
    const auto room =
        static_cast<size_t>((layout_.panel_width - Layout::kLabels) / Layout::kHeadCharacter);
    put("<text class=\"h2\" x=\"{}\" y=\"70\">{}</text>\n", x0,
        escaped(clipped(panel.title, room)));
    put("<text class=\"sum\" x=\"{}\" y=\"88\">{}</text>\n", x0, escaped(panel.summary));
    put("<g class=\"k\" transform=\"translate({:g} {:g})\">\n", x0, y0);
    for (int row = 0; row < panel.rows; ++row) cells(panel, row);
    put("</g>\n<rect class=\"frame\" x=\"{:g}\" y=\"{:g}\" width=\"{:g}\" height=\"{:g}\"/>\n",
        x0 - 0.5, y0 - 0.5, panel.columns * w + 1, panel.rows * h + 1);

    const int row_step = label_step(h, 14), column_step = label_step(w, 26);
    for (int row = 0; row < panel.rows; ++row) {
      if ((row + panel.first_row) % row_step != 0 && panel.rows > 1) continue;
      put("<text class=\"r\" x=\"{:g}\" y=\"{:g}\">{}</text>\n", x0 - 6, y0 + row * h + h / 2 + 4,
          row + panel.first_row);
    }
    const double below = y0 + panel.rows * h;
    for (int column = 0; column < panel.columns; column += column_step) {
      put("<text class=\"m\" x=\"{:g}\" y=\"{:g}\">{}</text>\n", x0 + column * w + w / 2,
          below + 15, column);
    }
    put("<text class=\"m\" x=\"{:g}\" y=\"{:g}\">GPU</text>\n", x0 + panel.columns * w / 2,
        below + 31);
    put("<text class=\"r\" x=\"{:g}\" y=\"{:g}\">layer</text>\n", x0 - 6, y0 - 7);
  }

  void cells(const HeatPanel& panel, int row) {
    const double w = layout_.cell_width, h = layout_.cell_height;
    double worst = 0;
    for (int column = 0; column < panel.columns; ++column) {
      worst = std::max(worst, ratio(panel, row, column));
    }
    if (!cell_tooltips_) {
      put("<g><title>layer {}: max/mean {:.3f}</title>", row + panel.first_row, worst);
    }
    // A hair of overlap hides the seams that renderers leave between cells at fractional positions.
    const double overlap = w < 8 ? 0.3 : -1;
    for (int column = 0; column < panel.columns; ++column) {
      const double value = ratio(panel, row, column);
      put("<rect class=\"c{}\" x=\"{:g}\" y=\"{:g}\" width=\"{:g}\" height=\"{:g}\"",
          level_of(value, scale_), column * w, row * h, w + overlap, h + (h < 6 ? 0.3 : -1));
      if (cell_tooltips_) {
        put("><title>layer {}, GPU {}: {:.2f} x mean (load {:.6g})</title></rect>\n",
            row + panel.first_row, column, value,
            panel.load[static_cast<size_t>(row) * panel.columns + column]);
      } else {
        put("/>");
      }
    }
    if (!cell_tooltips_) put("</g>\n");
  }

  void legend() {
    constexpr double kSwatch = 14;
    const double x0 = Layout::kMargin + Layout::kLabels;
    const double y0 = layout_.height - 40;
    put("<text x=\"{:g}\" y=\"{:g}\">load of a GPU / mean load of the layer</text>\n", x0, y0 - 8);
    for (int level = 0; level < kLevels; ++level) {
      put("<rect class=\"c{}\" x=\"{:g}\" y=\"{:g}\" width=\"{:g}\" height=\"10\"/>\n", level,
          x0 + level * kSwatch, y0, kSwatch);
    }
    put("<rect class=\"frame\" x=\"{:g}\" y=\"{:g}\" width=\"{:g}\" height=\"11\"/>\n", x0 - 0.5,
        y0 - 0.5, kLevels * kSwatch + 1);
    for (const int level : {0, kNeutral, (kNeutral + kLevels) / 2, kLevels - 1}) {
      put("<text class=\"m\" x=\"{:g}\" y=\"{:g}\">{:.2f}</text>\n", x0 + (level + 0.5) * kSwatch,
          y0 + 24, level_value(level, scale_));
    }
  }

  std::string_view title_;
  std::span<const HeatPanel> panels_;
  Layout layout_;
  double scale_;
  bool cell_tooltips_ = true;
  fmt::memory_buffer out_;
};

/// The nearest of the 6 x 6 x 6 colours and 24 greys that 256-colour terminals have.
int terminal_colour(Rgb c) {
  constexpr std::array<int, 6> kCube = {0, 95, 135, 175, 215, 255};
  const auto nearest = [&](int x) {
    int best = 0;
    for (int i = 1; i < 6; ++i) {
      if (std::abs(kCube[i] - x) < std::abs(kCube[best] - x)) best = i;
    }
    return best;
  };
  const int r = nearest(c.r), g = nearest(c.g), b = nearest(c.b);
  const int grey = std::clamp(((c.r + c.g + c.b) / 3 - 8 + 5) / 10, 0, 23);
  const auto distance = [&](int x, int y, int z) {
    return (x - c.r) * (x - c.r) + (y - c.g) * (y - c.g) + (z - c.b) * (z - c.b);
  };
  const int level = 8 + 10 * grey;
  const bool use_grey = distance(level, level, level) < distance(kCube[r], kCube[g], kCube[b]);
  return use_grey ? 232 + grey : 16 + 36 * r + 6 * g + b;
}

constexpr std::string_view kCharacters = " .:-=+*#%@";  // '-' is the neutral one

char level_character(int level) {
  constexpr int kMiddle = 3;
  const int last = static_cast<int>(kCharacters.size()) - 1;
  if (level <= kNeutral) return kCharacters[level * kMiddle / kNeutral];
  return kCharacters[kMiddle + (level - kNeutral) * (last - kMiddle) / (kLevels - 1 - kNeutral)];
}

/// `count` terminal cells of a level.
void put_cells(fmt::memory_buffer& out, int level, int count, bool colour) {
  if (colour) {
    fmt::format_to(std::back_inserter(out), "\x1b[48;5;{}m{:{}}",  // dark: most terminals are
                   terminal_colour(level_colour(level, true)), "", count);
  } else {
    fmt::format_to(std::back_inserter(out), "{}", std::string(count, level_character(level)));
  }
}

}  // namespace

double heat_scale(std::span<const HeatPanel> panels) {
  double scale = kScaleLeast;
  for (const HeatPanel& panel : panels) {
    for (int row = 0; row < panel.rows; ++row) {
      for (int column = 0; column < panel.columns; ++column) {
        scale = std::max(scale, ratio(panel, row, column));
      }
    }
  }
  return scale;
}

std::string heatmap_svg(std::string_view title, std::span<const HeatPanel> panels) {
  for (const HeatPanel& panel : panels) {
    CHECK(panel.load.size() == static_cast<size_t>(panel.rows) * panel.columns);
    CHECK(panel.mean.size() == static_cast<size_t>(panel.rows));
  }
  return SvgWriter(title, panels).write();
}

std::string heatmap_text(const HeatPanel& panel, double scale, int width, bool colour) {
  CHECK(panel.load.size() == static_cast<size_t>(panel.rows) * panel.columns);
  CHECK(panel.mean.size() == static_cast<size_t>(panel.rows));
  constexpr int kLabelWidth = 6;  // "layer "
  const int room = std::max(width - kLabelWidth, 8);
  const int per_cell = (panel.columns + room - 1) / room;  // GPUs that share a cell
  const int cells = (panel.columns + per_cell - 1) / per_cell;
  const int cell_width = std::clamp(room / cells, 1, 3);

  fmt::memory_buffer out;
  const auto put = [&]<typename... Args>(fmt::format_string<Args...> format, Args&&... args) {
    fmt::format_to(std::back_inserter(out), format, std::forward<Args>(args)...);
  };
  put("{}", panel.title);
  if (!panel.summary.empty()) put("  ({})", panel.summary);
  put("\n");
  for (int row = 0; row < panel.rows; ++row) {
    put("{:>5} ", row + panel.first_row);
    for (int cell = 0; cell < cells; ++cell) {
      double value = 0;
      for (int i = 0; i < per_cell && cell * per_cell + i < panel.columns; ++i) {
        value = std::max(value, ratio(panel, row, cell * per_cell + i));
      }
      put_cells(out, level_of(value, scale), cell_width, colour);
    }
    put("{}\n", colour ? "\x1b[0m" : "|");
  }
  put("{:>5} ", "GPU");
  const int step = label_step(cell_width, 5);
  for (int cell = 0; cell < cells; cell += step) {
    const int space = std::min(step, cells - cell) * cell_width;
    const std::string label = fmt::format("{}", cell * per_cell);
    if (static_cast<int>(label.size()) <= space) put("{:<{}}", label, space);
  }
  put("\n{:>5} 0 ", "");
  for (int level = 0; level < kLevels; ++level) {
    put_cells(out, level, 1, colour);
    if (level == kNeutral) put("{} 1.00 ", colour ? "\x1b[0m" : "");
  }
  put("{} {:.2f} x the layer's mean load", colour ? "\x1b[0m" : "", scale);
  if (per_cell > 1) put("; each cell is the largest of {} GPUs", per_cell);
  put("\n");
  return fmt::to_string(out);
}

}  // namespace hadal::eplb
