#include "cli/args.h"

#include <array>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "cli/terminal.h"

namespace hadal::cli {
namespace {

/// A small tree with one of everything; parse() returns the error, or what the command printed.
struct Fixture {
  bool json = false;
  std::string path, name;
  int count = 3;
  std::optional<int> size;
  int64_t seed = 0;
  double budget = -1;
  std::vector<int> list;
  std::vector<double> speeds;
  std::vector<std::string> pins;
  size_t policy = 0;

  std::string parse(const std::vector<const char*>& arguments) {
    static constexpr std::array<std::string_view, 2> kPolicies = {"auto", "best"};
    CommandTree tree("prog", "A program");
    Command root = tree.root();
    Command system = root.add("system", "A system");
    Command plan = system.add("plan", "Make a plan");
    plan.file("--input,-i", path, "A file").required();
    plan.flag("--json", json, "Print JSON");
    plan.text("--name", name, "A name");
    plan.integer("--count", count, "How many", 1, 10);
    plan.integer("--size", size, "How large", 1);
    plan.integer64("--seed", seed, "A seed");
    plan.number("--budget-ms", budget, "A time");
    plan.integers("--list", list, "Numbers");
    plan.numbers("--speed", speeds, "Numbers");
    plan.texts("--pin", pins, "Pins", "A:B");
    plan.choice("--policy", policy, kPolicies, "A policy");
    plan.run([](Terminal& terminal) -> Result<ExitCode> {
      terminal.print("ran");
      return 1;
    });
    Terminal terminal(false, 80);
    const Result<ExitCode> code = tree.run(arguments, terminal);
    if (!code) {
      EXPECT_EQ(code.error().code, Code::kInvalidArgument);
      return code.error().message;
    }
    EXPECT_EQ(*code, terminal.output() == "ran" ? 1 : 0);
    return terminal.output();
  }
};

TEST(Args, ValuesArrive) {
  Fixture f;
  EXPECT_EQ(f.parse({"system",      "plan", "-i",     "-",     "--json",   "--name=x y",
                     "--count",     "10",   "--size", "7",     "--seed",   "9223372036854775807",
                     "--budget-ms", "2.5",  "--list", "3,0,5", "--speed",  "1,0.5",
                     "--pin",       "1:2",  "--pin",  "3:4",   "--policy", "best"}),
            "ran");
  EXPECT_EQ(f.path, "-");
  EXPECT_TRUE(f.json);
  EXPECT_EQ(f.name, "x y");
  EXPECT_EQ(f.count, 10);
  EXPECT_EQ(f.size, 7);
  EXPECT_EQ(f.seed, 9223372036854775807);
  EXPECT_EQ(f.budget, 2.5);
  EXPECT_EQ(f.list, (std::vector<int>{3, 0, 5}));
  EXPECT_EQ(f.speeds, (std::vector<double>{1, 0.5}));
  EXPECT_EQ(f.pins, (std::vector<std::string>{"1:2", "3:4"}));
  EXPECT_EQ(f.policy, 1u);
}

TEST(Args, WhatIsNotGivenStaysAsItWas) {
  Fixture f;
  EXPECT_EQ(f.parse({"system", "plan", "--input", "a"}), "ran");
  EXPECT_EQ(f.count, 3);
  EXPECT_EQ(f.size, std::nullopt);
  EXPECT_EQ(f.budget, -1);
}

TEST(Args, ErrorsAreOneSentenceWithAHint) {
  const auto plan = [](std::vector<const char*> arguments) {
    arguments.insert(arguments.begin(), {"system", "plan", "-i", "a"});
    return Fixture().parse(arguments);
  };
  const std::string hint = "; see `prog system plan --help`";
  EXPECT_EQ(plan({"--count", "x"}),
            "--count is 'x'; it must be a whole number from 1 to 10" + hint);
  EXPECT_EQ(plan({"--count", "11"}),
            "--count is '11'; it must be a whole number from 1 to 10" + hint);
  EXPECT_EQ(plan({"--count", "-1"}),
            "--count is '-1'; it must be a whole number from 1 to 10" + hint);
  EXPECT_EQ(plan({"--count", "1", "--count", "2"}), "--count is given twice" + hint);
  EXPECT_EQ(plan({"--size", "99999999999"}),
            "--size is '99999999999'; it must be a whole number of at least 1" + hint);
  EXPECT_EQ(plan({"--size", "1.5"}),
            "--size is '1.5'; it must be a whole number of at least 1" + hint);
  EXPECT_EQ(plan({"--budget-ms", "nan"}),
            "--budget-ms is 'nan'; it must be a number of at least 0" + hint);
  EXPECT_EQ(plan({"--list", "1,,2"}),
            "--list is '1,,2'; in each place of the list, it must be a whole number of at least 0" +
                hint);
  EXPECT_EQ(plan({"--policy", "bset"}), "--policy is 'bset'; it must be one of auto, best" + hint);
  EXPECT_EQ(plan({"--name", ""}), "--name is ''; it must not be empty" + hint);
  EXPECT_EQ(plan({"--count"}), "--count needs a value" + hint);
  EXPECT_EQ(plan({"--pin"}), "--pin needs a value" + hint);
  EXPECT_EQ(plan({"--jsom"}), "unknown option '--jsom', did you mean --json?" + hint);
  EXPECT_EQ(plan({"--zzz=1"}), "unknown option '--zzz'" + hint);
  EXPECT_EQ(plan({"extra"}), "unexpected argument 'extra'" + hint);
  EXPECT_EQ(Fixture().parse({"system", "plan"}), "--input is required" + hint);
}

TEST(Args, CommandsThatAreMissingOrUnknown) {
  EXPECT_EQ(Fixture().parse({}), "a command is missing, one of system; see `prog --help`");
  EXPECT_EQ(Fixture().parse({"system"}),
            "a command is missing, one of plan; see `prog system --help`");
  EXPECT_EQ(Fixture().parse({"sistem"}),
            "unknown command 'sistem', did you mean system?; see `prog --help`");
  EXPECT_EQ(Fixture().parse({"system", "plann"}),
            "unknown command 'plann', did you mean plan?; see `prog system --help`");
  EXPECT_EQ(Fixture().parse({"--nope"}), "unknown option '--nope'; see `prog --help`");
}

TEST(Args, HelpIsOfTheCommandAskedFor) {
  EXPECT_NE(Fixture().parse({"--help"}).find("system"), std::string::npos);
  const std::string help = Fixture().parse({"system", "plan", "--help"});
  EXPECT_NE(help.find("--policy"), std::string::npos);
  EXPECT_NE(help.find("auto|best"), std::string::npos);
  EXPECT_NE(Fixture().parse({"system", "plan", "-i", "a", "-h"}).find("--policy"),
            std::string::npos);
}

TEST(Args, Nearest) {
  const std::vector<std::string> names = {"plan", "evaluate", "show"};
  EXPECT_EQ(nearest("plna", names), "plan");
  EXPECT_EQ(nearest("evalute", names), "evaluate");
  EXPECT_EQ(nearest("xyz", names), "");
  EXPECT_EQ(nearest("", names), "");
  EXPECT_EQ(nearest("show", {}), "");
}

}  // namespace
}  // namespace hadal::cli
