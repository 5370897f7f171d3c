// XXH3 checksums: quick, for finding damage and naming runs; no defence against an adversary.

#ifndef LONGRANGE_COMMON_IO_CHECKSUM_H_
#define LONGRANGE_COMMON_IO_CHECKSUM_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace longrange {

// XXH3, 64 bits: the same on every machine. With the checksum of what came before as the seed, the
// checksum of a sequence of pieces.
uint64_t Checksum(absl::string_view bytes, uint64_t seed = 0);
// Of a whole file, read in pieces.
absl::StatusOr<uint64_t> ChecksumFile(absl::string_view path);

// 16 lower-case hexadecimal digits.
std::string ChecksumHex(uint64_t checksum);

}  // namespace longrange

#endif  // LONGRANGE_COMMON_IO_CHECKSUM_H_
