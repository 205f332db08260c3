#include "cli/completion.h"

#include <array>
#include <cstdio>
#include <memory>
#include <string>

#include <fmt/core.h>
#include <gtest/gtest.h>
#include <unistd.h>

namespace hadal::cli {
namespace {

CommandInfo sample() {
  const CommandInfo plan{
      .name = "plan",
      .help = "Plan [it]: it's done",
      .options =
          {{.names = {"--input", "-i"}, .help = "A file", .takes_value = true, .is_file = true},
           {.names = {"--policy"}, .help = "How", .takes_value = true, .choices = {"auto", "best"}},
           {.names = {"--steps"}, .help = "N", .takes_value = true},
           {.names = {"--json"}, .help = "JSON"}},
      .commands = {}};
  const CommandInfo system{.name = "eplb", .help = "A system", .options = {}, .commands = {plan}};
  const CommandInfo shell{.name = "completion",
                          .help = "Scripts",
                          .options = {{.names = {}, .help = "", .choices = {"bash", "zsh"}}},
                          .commands = {}};
  return {.name = "prog",
          .help = "A program",
          .options = {{.names = {"--help", "-h"}, .help = "Help"}},
          .commands = {system, shell}};
}

/// What bash offers for a command line that ends where the cursor is; "-" if there is no bash.
std::string completed(const std::string& words, const std::string& directory = "/nonexistent") {
  const std::string path =
      fmt::format("{}hadal_completion_test.{}.bash", testing::TempDir(), ::getpid());
  const std::unique_ptr<FILE, int (*)(FILE*)> file(std::fopen(path.c_str(), "w"), std::fclose);
  std::fputs(bash_completion(sample()).c_str(), file.get());
  fmt::print(file.get(),
             "cd {} 2>/dev/null\nCOMP_WORDS=({})\nCOMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))\n"
             "_prog_completion\necho \"${{COMPREPLY[*]}}\"\n",
             directory, words);
  std::fflush(file.get());
  const std::unique_ptr<FILE, int (*)(FILE*)> pipe(::popen(("bash --norc " + path).c_str(), "re"),
                                                   ::pclose);
  std::array<char, 1024> line{};
  std::string text;
  while (std::fgets(line.data(), line.size(), pipe.get()) != nullptr) text += line.data();
  std::remove(path.c_str());
  text.erase(text.find_last_not_of('\n') + 1);
  return text;
}

TEST(BashCompletion, OffersWhatFits) {
  EXPECT_EQ(completed("prog ''"), "eplb completion");
  EXPECT_EQ(completed("prog e"), "eplb");
  EXPECT_EQ(completed("prog -"), "--help -h");
  EXPECT_EQ(completed("prog eplb ''"), "plan");
  EXPECT_EQ(completed("prog eplb plan --"), "--input --policy --steps --json");
  EXPECT_EQ(completed("prog eplb plan --policy ''"), "auto best");
  EXPECT_EQ(completed("prog eplb plan --policy b"), "best");
  EXPECT_EQ(completed("prog eplb plan --policy = a"), "auto");
  EXPECT_EQ(completed("prog eplb plan --policy ="), "auto best");
  EXPECT_EQ(completed("prog eplb plan --policy best --j"), "--json");
  EXPECT_EQ(completed("prog eplb plan --steps = 5 --j"), "--json");
  EXPECT_EQ(completed("prog eplb plan --steps ''"), "");
  EXPECT_EQ(completed("prog completion z"), "zsh");
}

TEST(BashCompletion, AValueIsNoCommand) {
  EXPECT_EQ(completed("prog eplb plan --input eplb --p"), "--policy");
}

TEST(BashCompletion, OffersFiles) {
  EXPECT_EQ(completed("prog eplb plan -i CMakeL", HADAL_SOURCE_DIR), "CMakeLists.txt");
}

TEST(ZshCompletion, HasEveryCommandAndOption) {
  const std::string script = zsh_completion(sample());
  for (const char* part :
       {"#compdef prog", "_prog_eplb_plan()", "eplb) _prog_eplb ;;", "'--json[JSON]'",
        "'--policy[How]:value:(auto best)'", "'(--input -i)'{--input,-i}'[A file]:file:_files'",
        "'plan:Plan \\[it\\]\\: it'\\''s done'", "':value:(bash zsh)'"}) {
    EXPECT_NE(script.find(part), std::string::npos) << part << "\n" << script;
  }
}

}  // namespace
}  // namespace hadal::cli
