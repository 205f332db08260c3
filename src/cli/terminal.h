// Where a command's words go, and how they look.
//
// A command collects its answer with print(); main() writes it in one go at the end, so that a
// reader sees either the answer or an error, and a full disk is noticed. Messages about the work
// itself (progress, errors) go to standard error. Colours appear only on a terminal, and never
// where NO_COLOR is set (https://no-color.org).
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace hadal::cli {

class Terminal {
 public:
  /// Looks at standard output: is it a terminal, how wide is it, are colours wanted.
  Terminal();
  /// For tests: as told.
  Terminal(bool colour, int width) : colour_(colour), width_(width) {}

  bool colour() const { return colour_; }
  int width() const { return width_; }  // characters; 100 where that cannot be known

  void print(std::string_view text) { output_ += text; }
  const std::string& output() const { return output_; }

  /// Writes what was printed to standard output. A reader that went away (`hadal ... | head -1`) is
  /// no error; a full disk is.
  Result<> flush();

  // Text in bold, or faint, where colours are on.
  std::string bold(std::string_view text) const;
  std::string faint(std::string_view text) const;

 private:
  bool colour_ = false;
  int width_ = 100;
  std::string output_;
};

/// Lines up cells in columns: the first to the left, the others to the right, two blanks between.
class Table {
 public:
  void add(std::vector<std::string> row) { rows_.push_back(std::move(row)); }
  /// The lines, each begun with `indent` blanks and ended with a newline.
  std::string text(int indent = 0) const;

 private:
  std::vector<std::vector<std::string>> rows_;
};

/// "1 layer", "58 layers".
std::string counted(long long count, std::string_view noun);

}  // namespace hadal::cli
