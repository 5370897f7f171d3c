// SHA-256 (FIPS 180-4): the digest under which data sets are published.

#ifndef LONGRANGE_COMMON_IO_SHA256_H_
#define LONGRANGE_COMMON_IO_SHA256_H_

#include <array>
#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace longrange {

// Takes bytes piece by piece.
class Sha256 {
 public:
  void Update(absl::string_view bytes);
  // 64 lower-case hexadecimal digits of all bytes so far.
  std::string Hex() const;

 private:
  void Block(const unsigned char* block);

  std::array<uint32_t, 8> state_ = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                    0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
  std::array<unsigned char, 64> rest_ = {};  // of the last block, of which bytes_ % 64 are there
  uint64_t bytes_ = 0;
};

// Of a whole file, read in pieces.
absl::StatusOr<std::string> Sha256OfFile(const std::string& path);

}  // namespace longrange

#endif  // LONGRANGE_COMMON_IO_SHA256_H_
