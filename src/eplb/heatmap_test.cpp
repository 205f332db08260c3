#include "eplb/heatmap.h"

#include <algorithm>
#include <string>
#include <vector>

#include <gtest/gtest.h>

namespace hadal::eplb {
namespace {

struct Sample {
  std::vector<double> load = {10, 10, 40, 0, 30, 30};
  std::vector<double> mean = {20, 20};

  HeatPanel panel() const {
    return {.title = "before <&\"> \xff\xc3\xa9",
            .summary = "max/mean 2",
            .rows = 2,
            .columns = 3,
            .load = load,
            .mean = mean};
  }
};

size_t count(const std::string& text, std::string_view part) {
  size_t found = 0;
  for (size_t at = text.find(part); at != text.npos; at = text.find(part, at + 1)) ++found;
  return found;
}

TEST(Heatmap, ScaleIsTheLargestRatio) {
  const Sample sample;
  const std::vector<HeatPanel> panels = {sample.panel()};
  EXPECT_EQ(heat_scale(panels), 2);
  const std::vector<double> even = {1, 1}, one = {1};
  const std::vector<HeatPanel> flat = {{.rows = 1, .columns = 2, .load = even, .mean = one}};
  EXPECT_EQ(heat_scale(flat), 1.1);
  EXPECT_EQ(heat_scale({}), 1.1);
}

TEST(Heatmap, TextShowsIdleEvenAndOverloaded) {
  const Sample sample;
  const std::string text = heatmap_text(sample.panel(), 2, 80, false);
  // Three characters a GPU: 10/20 is half idle, 40/20 the scale's end, 0 idle.
  EXPECT_NE(text.find("    0 ......@@@|"), std::string::npos) << text;
  EXPECT_NE(text.find("    1    ******|"), std::string::npos) << text;
  EXPECT_NE(text.find("2.00 x the layer's mean load"), std::string::npos) << text;
  EXPECT_EQ(text.find('\x1b'), std::string::npos);
}

TEST(Heatmap, TextFitsTheWidthAndSaysWhenGpusShareACell) {
  const int columns = 200;
  std::vector<double> load(columns, 1.0), mean = {1};
  load[57] = 3;
  const HeatPanel panel{
      .title = "t", .rows = 1, .columns = columns, .load = load, .mean = mean, .first_row = 7};
  const std::string text = heatmap_text(panel, 3, 60, false);
  EXPECT_NE(text.find("each cell is the largest of 4 GPUs"), std::string::npos) << text;
  const std::string row = text.substr(text.find("    7 "), 6 + 50 + 1);
  EXPECT_EQ(row[6 + 57 / 4], '@') << row;
  EXPECT_EQ(std::count(row.begin(), row.end(), '@'), 1);
  EXPECT_EQ(row.back(), '|');
}

TEST(Heatmap, ColourEndsOnEveryLine) {
  const Sample sample;
  const std::string text = heatmap_text(sample.panel(), 2, 80, true);
  EXPECT_NE(text.find("\x1b[48;5;"), std::string::npos);
  size_t begin = 0;
  for (size_t end = text.find('\n'); end != text.npos; end = text.find('\n', begin)) {
    const std::string line = text.substr(begin, end - begin);
    const size_t colour = line.rfind("\x1b[48");
    if (colour != line.npos) {
      EXPECT_GT(line.rfind("\x1b[0m"), colour);
    }
    begin = end + 1;
  }
}

TEST(Heatmap, SvgHasACellAndATooltipPerGpu) {
  const Sample sample;
  const std::vector<HeatPanel> panels = {sample.panel(), sample.panel()};
  const std::string svg = heatmap_svg("A <title> & more", panels);
  EXPECT_EQ(count(svg, "x mean (load"), 12u);
  EXPECT_NE(svg.find("layer 0, GPU 2: 2.00 x mean (load 40)"), std::string::npos);
  EXPECT_NE(svg.find("A &lt;title&gt; &amp; more"), std::string::npos);
  EXPECT_NE(svg.find("before &lt;&amp;&quot;&gt; ?\xc3\xa9"), std::string::npos);
  EXPECT_NE(svg.find("prefers-color-scheme:dark"), std::string::npos);
  EXPECT_EQ(count(svg, "<svg"), 1u);
  EXPECT_TRUE(svg.ends_with("</svg>\n"));
  EXPECT_EQ(count(svg, "<g "), count(svg, "</g>"));
}

TEST(Heatmap, SvgOfALayerWithoutLoadIsNeutral) {
  const std::vector<double> load = {0, 0}, mean = {0};
  const std::vector<HeatPanel> panels = {{.rows = 1, .columns = 2, .load = load, .mean = mean}};
  EXPECT_EQ(count(heatmap_svg("t", panels), ": 1.00 x mean (load 0)"), 2u);
}

TEST(Heatmap, LargeMapsHaveTooltipsPerRow) {
  const int rows = 100, columns = 500;
  const std::vector<double> load(size_t{rows} * columns, 1.0), mean(rows, 1.0);
  const std::vector<HeatPanel> panels = {
      {.rows = rows, .columns = columns, .load = load, .mean = mean}};
  const std::string svg = heatmap_svg("t", panels);
  EXPECT_EQ(count(svg, "x mean (load"), 0u);
  EXPECT_EQ(count(svg, ": max/mean 1.000</title>"), 100u);
}

}  // namespace
}  // namespace hadal::eplb
