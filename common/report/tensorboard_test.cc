#include "common/report/tensorboard.h"

#include <gtest/gtest.h>

#include <string>

#include "absl/strings/escaping.h"

namespace longrange {
namespace report {
namespace {

TEST(Crc32c, MatchesPublishedValues) {
  EXPECT_EQ(Crc32c("123456789"), 0xE3069283u);  // the check value of CRC-32C
  // RFC 3720, B.4.
  EXPECT_EQ(Crc32c(std::string(32, '\0')), 0x8A9136AAu);
  EXPECT_EQ(Crc32c(std::string(32, '\xff')), 0x62A8AB43u);
  EXPECT_EQ(Crc32c(""), 0u);
}

// Bytes that tensorboard 2.21's EventFileWriter wrote for the same events.
TEST(Records, AreTensorBoardsBytes) {
  EXPECT_EQ(absl::BytesToHexString(FirstEventRecord(1.5)),
            "1800000000000000a37f4b2209000000000000f83f1a0d627261696e2e4576656e743a322a28646c");
  EXPECT_EQ(absl::BytesToHexString(ScalarsRecord(2.5, 300, {{"loss", 0.25}, {"rate", -1}})),
            "2800000000000000ff70164a09000000000000044010ac022a1a0a0b0a046c6f7373150000803e0a0b0a04"
            "7261746515000080bf058bf8d0");
  EXPECT_EQ(absl::BytesToHexString(RestartRecord(3.5, 7)),
            "0f000000000000006d532b09090000000000000c4010073a0208018c2b37c8");
}

TEST(EventFileName, SortsAsItsNumber) {
  EXPECT_EQ(EventFileName(1), "events.out.tfevents.0001");
  EXPECT_LT(EventFileName(9), EventFileName(10));
}

}  // namespace
}  // namespace report
}  // namespace longrange
