#include "base/cpu.h"

#include <gtest/gtest.h>

#include <string>

namespace lissom {
namespace {

TEST(Target, ForcedByName) {
  const auto supported = supported_targets();
  ASSERT_FALSE(supported.empty());
  EXPECT_EQ(supported.back(), Target::scalar);
  EXPECT_EQ(choose_target(nullptr).value(), supported.front());
  EXPECT_EQ(choose_target("").value(), supported.front());
  for (const Target t : supported) EXPECT_EQ(choose_target(std::string(target_name(t)).c_str()).value(), t);
  const auto unknown = choose_target("sse9");
  ASSERT_FALSE(unknown.has_value());
  EXPECT_NE(unknown.error().message.find("LISSOM_FORCE_TARGET"), std::string::npos);
  EXPECT_NE(unknown.error().message.find("scalar"), std::string::npos);
}

}  // namespace
}  // namespace lissom
