// Counter-based randomness: Philox4x32-10 (Salmon et al., "Parallel Random Numbers: As Easy as 1,
// 2, 3", SC 2011).
//
// An Rng is a value that is never advanced: draw number i of a key is a pure function of (key, i),
// so recomputation, resumption and any order of evaluation repeat it. Keys are derived by purpose,
// step and path:
//   rng.Child("init").Child("layers.0.mixer/w_q").Normal(i)

#ifndef LONGRANGE_COMMON_BASE_RNG_H_
#define LONGRANGE_COMMON_BASE_RNG_H_

#include <array>
#include <cmath>
#include <cstdint>

#include "absl/strings/string_view.h"

namespace longrange {

namespace rng_internal {

inline std::array<uint32_t, 4> Philox(uint64_t key, uint64_t counter) {
  uint32_t k0 = static_cast<uint32_t>(key), k1 = static_cast<uint32_t>(key >> 32);
  uint32_t c0 = static_cast<uint32_t>(counter), c1 = static_cast<uint32_t>(counter >> 32), c2 = 0,
           c3 = 0;
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = uint64_t{0xD2511F53} * c0, p1 = uint64_t{0xCD9E8D57} * c2;
    const uint32_t n0 = static_cast<uint32_t>(p1 >> 32) ^ c1 ^ k0,
                   n2 = static_cast<uint32_t>(p0 >> 32) ^ c3 ^ k1;
    c1 = static_cast<uint32_t>(p1);
    c3 = static_cast<uint32_t>(p0);
    c0 = n0;
    c2 = n2;
    k0 += 0x9E3779B9;
    k1 += 0xBB67AE85;
  }
  return {c0, c1, c2, c3};
}

// The finaliser of SplitMix64: every bit of the input reaches every bit of the output.
inline uint64_t Mix(uint64_t x) {
  x += 0x9E3779B97F4A7C15;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EB;
  return x ^ (x >> 31);
}

}  // namespace rng_internal

class Rng {
 public:
  Rng() : Rng(0) {}
  explicit Rng(uint64_t seed) : key_(rng_internal::Mix(seed)) {}

  // An independent stream for a purpose ("data", "init/w_q") or a number (step, example).
  Rng Child(absl::string_view purpose) const {
    uint64_t hash = 0xCBF29CE484222325;  // FNV-1a
    for (const char c : purpose) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001B3;
    return Derived(hash, 1);
  }
  Rng Child(int64_t number) const { return Derived(static_cast<uint64_t>(number), 2); }
  Rng Child(int number) const { return Child(int64_t{number}); }

  // Draw number `i`: 64 random bits; uniform in [0, 1); standard normal (Box-Muller, one per
  // counter); uniform integer in [0, n), n > 0 (bias below n / 2^64).
  uint64_t Bits(int64_t i) const {
    const auto r = rng_internal::Philox(key_, static_cast<uint64_t>(i));
    return (uint64_t{r[1]} << 32) | r[0];
  }
  double Uniform(int64_t i) const { return static_cast<double>(Bits(i) >> 11) * 0x1.0p-53; }
  double Normal(int64_t i) const {
    const auto r = rng_internal::Philox(key_, static_cast<uint64_t>(i));
    const double u =
        (static_cast<double>(((uint64_t{r[1]} << 32) | r[0]) >> 11) + 1) * 0x1.0p-53;  // (0, 1]
    const double v = static_cast<double>(((uint64_t{r[3]} << 32) | r[2]) >> 11) * 0x1.0p-53;
    return std::sqrt(-2 * std::log(u)) * std::cos(2 * 3.14159265358979323846 * v);
  }
  int64_t UniformInt(int64_t i, int64_t n) const {
    return static_cast<int64_t>(
        (static_cast<unsigned __int128>(Bits(i)) * static_cast<uint64_t>(n)) >> 64);
  }

  uint64_t key() const { return key_; }

 private:
  Rng Derived(uint64_t value, uint64_t kind) const {
    Rng child;
    child.key_ = rng_internal::Mix(rng_internal::Mix(key_ ^ value) + kind);
    return child;
  }

  uint64_t key_;
};

// Draws one after the other, for loops that do not count themselves.
class RngStream {
 public:
  explicit RngStream(const Rng& rng) : rng_(rng) {}
  double Uniform() { return rng_.Uniform(next_++); }
  double Normal() { return rng_.Normal(next_++); }
  int64_t UniformInt(int64_t n) { return rng_.UniformInt(next_++, n); }

 private:
  Rng rng_;
  int64_t next_ = 0;
};

}  // namespace longrange

#endif  // LONGRANGE_COMMON_BASE_RNG_H_
