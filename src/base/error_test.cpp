#include "base/error.h"

#include <cerrno>
#include <memory>

#include <gtest/gtest.h>

#include "base/check.h"

namespace hadal {
namespace {

Result<int> half(int x) {
  if (x % 2 != 0) return fail(Code::kInvalidArgument, "x is odd");
  return x / 2;
}

Result<int> quarter(int x) {
  return TRY(half(TRY(half(x))));
}

Result<> need_even(int x) {
  TRY(half(x));
  return {};
}

Result<int> use_void(int x) {
  TRY(need_even(x));
  return x;
}

Result<std::unique_ptr<int>> boxed(int x) {
  return std::make_unique<int>(TRY(half(x)));
}

TEST(Error, TryReturnsTheValueOrTheError) {
  EXPECT_EQ(quarter(8), 2);
  ASSERT_FALSE(quarter(6).has_value());
  EXPECT_EQ(quarter(6).error().message, "x is odd");
  EXPECT_EQ(use_void(4), 4);
  EXPECT_FALSE(use_void(3).has_value());
}

TEST(Error, TryMovesValuesThatCannotBeCopied) {
  const auto unbox = [](int x) -> Result<int> {
    const std::unique_ptr<int> box = TRY(boxed(x));
    return *box;
  };
  EXPECT_EQ(unbox(10), 5);
  EXPECT_FALSE(unbox(1).has_value());
}

TEST(Error, ContextGoesInFront) {
  EXPECT_EQ((Error{Code::kCorrupt, "bad header"}.in("a.plan").message), "a.plan: bad header");
  EXPECT_EQ(in("a.plan", half(3)).error().message, "a.plan: x is odd");
  EXPECT_EQ(in("a.plan", half(4)), 2);
}

TEST(Error, SystemCallsGetACodeAnOperatorCanActOn) {
  EXPECT_EQ(os_error(ENOENT, "x").code, Code::kNotFound);
  EXPECT_EQ(os_error(EACCES, "x").code, Code::kPermissionDenied);
  EXPECT_EQ(os_error(ENOSPC, "x").code, Code::kNoSpace);
  EXPECT_EQ(os_error(EEXIST, "x").code, Code::kAlreadyExists);
  EXPECT_EQ(os_error(EINVAL, "open a").code, Code::kIo);
  EXPECT_EQ(os_error(ENOENT, "open a").message, "open a: No such file or directory");
}

TEST(Error, ExitCodes) {
  EXPECT_EQ(exit_code({Code::kInvalidArgument, ""}), 2);
  EXPECT_EQ(exit_code({Code::kCorrupt, ""}), 2);
  EXPECT_EQ(exit_code({Code::kNotFound, ""}), 2);
  EXPECT_EQ(exit_code({Code::kUnsupported, ""}), 3);
  EXPECT_EQ(exit_code({Code::kIo, ""}), 3);
}

TEST(CheckDeathTest, NamesTheExpressionAndThePlace) {
  EXPECT_DEATH(CHECK(1 + 1 == 3, "arithmetic"), "error_test.cpp.*1 \\+ 1 == 3.*arithmetic");
  CHECK(true);
}

}  // namespace
}  // namespace hadal
