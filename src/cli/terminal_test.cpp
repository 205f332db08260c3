#include "cli/terminal.h"

#include <gtest/gtest.h>

namespace hadal::cli {
namespace {

TEST(Terminal, ColoursOnlyWhereWanted) {
  EXPECT_EQ(Terminal(false, 80).bold("x"), "x");
  EXPECT_EQ(Terminal(true, 80).bold("x"), "\x1b[1mx\x1b[0m");
}

TEST(Table, LinesUpColumns) {
  Table table;
  table.add({"name", "a", "long"});
  table.add({"x", "100", ""});
  EXPECT_EQ(table.text(1), " name    a  long\n x     100\n");
}

TEST(Counted, HasAPlural) {
  EXPECT_EQ(counted(1, "GPU"), "1 GPU");
  EXPECT_EQ(counted(0, "GPU"), "0 GPUs");
}

}  // namespace
}  // namespace hadal::cli
