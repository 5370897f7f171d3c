#include "experiments/speed/peer.h"

#include "common/base/paths.h"
#include "common/testing/matchers.h"
#include "gtest/gtest.h"

namespace longrange {
namespace {

std::unique_ptr<Peer> StandIn() {
  auto peer = Peer::Start("sh", *RunfilePath("experiments/speed/testdata/peer.sh"), 1);
  EXPECT_THAT(peer.status(), IsOk());
  return *std::move(peer);
}

TEST(Peer, TimesWorkOrSaysThatItHasNone) {
  const std::unique_ptr<Peer> peer = StandIn();
  EXPECT_EQ(peer->name(), "stand-in 1");
  for (int i = 0; i < 3; ++i) EXPECT_EQ(*peer->Time("Softmax/rows:1", 0.1), 0.001);
  EXPECT_THAT(peer->Time("Rotary/b:1", 0.1).status(),
              StatusIs(absl::StatusCode::kNotFound, "no such workload"));
  EXPECT_EQ(*peer->Time("Softmax/rows:1", 0.1), 0.001);
}

TEST(Peer, SaysThatItHasEnded) {
  const std::unique_ptr<Peer> peer = StandIn();
  for (int i = 0; i < 2; ++i)
    EXPECT_THAT(peer->Time("Broken/b:1", 0.1).status(),
                StatusIs(absl::StatusCode::kUnavailable, ""));
}

TEST(Peer, RefusesWhatIsNoPeer) {
  EXPECT_THAT(Peer::Start("/nowhere/python", "script", 1).status(),
              StatusIs(absl::StatusCode::kNotFound, "--peers=/nowhere/python"));
  EXPECT_THAT(Peer::Start("true", "script", 1).status(),
              StatusIs(absl::StatusCode::kUnavailable, "a Python with torch"));
  EXPECT_THAT(Peer::Start("echo", "script", 1).status(),
              StatusIs(absl::StatusCode::kInvalidArgument, "the peer's answer"));
}

}  // namespace
}  // namespace longrange
