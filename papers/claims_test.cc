// Every claims.textproto says what it must: who claims what, where, under which protocol, and what
// came of it.

#include <google/protobuf/text_format.h>

#include <fstream>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "absl/strings/str_split.h"
#include "common/base/paths.h"
#include "common/testing/matchers.h"
#include "gtest/gtest.h"
#include "papers/claims.pb.h"

namespace longrange {
namespace {

// The last part of a folder below papers/: the paper.
std::string Paper(const std::string& folder) {
  return std::vector<std::string>(absl::StrSplit(folder, '/')).back();
}

class ClaimsTest : public testing::TestWithParam<std::string> {};

TEST_P(ClaimsTest, IsComplete) {
  LR_ASSERT_OK_AND_ASSIGN(const std::string path,
                          RunfilePath("papers/" + GetParam() + "/claims.textproto"));
  std::stringstream text;
  text << std::ifstream(path).rdbuf();
  Claims claims;
  ASSERT_TRUE(google::protobuf::TextFormat::ParseFromString(text.str(), &claims)) << path;
  EXPECT_EQ(claims.paper(), Paper(GetParam()));
  EXPECT_GT(claims.claim_size(), 0);
  std::set<std::string> ids;
  for (const Claim& claim : claims.claim()) {
    EXPECT_TRUE(ids.insert(claim.id()).second) << "two claims '" << claim.id() << "'";
    for (const std::string* field : {&claim.id(), &claim.statement(), &claim.source(),
                                     &claim.protocol(), &claim.paper_value()}) {
      EXPECT_FALSE(field->empty()) << claim.ShortDebugString();
    }
    if (claim.has_verify()) {
      EXPECT_GT(claim.verify().seconds(), 0) << claim.id() << ": --verify=fast goes by it";
    }
    if (claim.status() == Claim::NOT_RUN) {
      EXPECT_TRUE(claim.measured().empty()) << claim.id();
      EXPECT_FALSE(claim.has_verify()) << claim.id() << ": there is nothing to compare with";
    } else {
      EXPECT_FALSE(claim.measured().empty() || claim.command().empty()) << claim.id();
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Papers, ClaimsTest, testing::Values(LR_PAPERS, LR_SKELETONS),
                         [](const testing::TestParamInfo<std::string>& info) {
                           return Paper(info.param);
                         });

}  // namespace
}  // namespace longrange
