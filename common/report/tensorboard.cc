#include "common/report/tensorboard.h"

#include <array>
#include <cstring>

#include "absl/strings/str_format.h"

namespace longrange {
namespace report {
namespace {

// Little-endian bytes of a number.
template <typename T>
std::string Bytes(T value) {
  uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof(T));
  std::string bytes(sizeof(T), '\0');
  for (size_t i = 0; i < sizeof(T); ++i) bytes[i] = static_cast<char>(bits >> (8 * i));
  return bytes;
}

// Fields of a protocol buffer.
std::string Varint(uint64_t value) {
  std::string bytes;
  for (; value >= 0x80; value >>= 7) bytes += static_cast<char>(value | 0x80);
  return bytes + static_cast<char>(value);
}
std::string Key(int field, int wire_type) {
  return Varint(static_cast<uint64_t>(field) << 3 | static_cast<uint64_t>(wire_type));
}
std::string Integer(int field, int64_t value) {
  return Key(field, 0) + Varint(static_cast<uint64_t>(value));
}
std::string Double(int field, double value) { return Key(field, 1) + Bytes(value); }
std::string Float(int field, float value) { return Key(field, 5) + Bytes(value); }
std::string Part(int field, absl::string_view part) {
  return Key(field, 2) + Varint(part.size()) + std::string(part);
}

// Of Event.
constexpr int kWallTime = 1, kStep = 2, kFileVersion = 3, kSummary = 5, kSessionLog = 7;
// Of Summary, of its values, and of SessionLog.
constexpr int kValue = 1, kTag = 1, kSimpleValue = 2, kStatus = 1;
constexpr int64_t kStart = 1;

std::string Record(const std::string& event) {
  const auto masked = [](absl::string_view bytes) {
    const uint32_t crc = Crc32c(bytes);
    return Bytes<uint32_t>((crc >> 15 | crc << 17) + 0xa282ead8u);
  };
  const std::string length = Bytes<uint64_t>(event.size());
  return length + masked(length) + event + masked(event);
}

}  // namespace

uint32_t Crc32c(absl::string_view bytes) {
  static const auto* table = [] {
    auto* made = new std::array<uint32_t, 256>;
    for (uint32_t i = 0; i < 256; ++i) {
      uint32_t rest = i;
      for (int bit = 0; bit < 8; ++bit) rest = rest >> 1 ^ (rest & 1 ? 0x82f63b78u : 0);
      (*made)[i] = rest;
    }
    return made;
  }();
  uint32_t crc = 0xffffffffu;
  for (const char c : bytes) crc = crc >> 8 ^ (*table)[(crc ^ static_cast<uint8_t>(c)) & 0xff];
  return ~crc;
}

std::string EventFileName(int64_t index) {
  return absl::StrFormat("events.out.tfevents.%04d", index);
}

std::string FirstEventRecord(double time) {
  return Record(Double(kWallTime, time) + Part(kFileVersion, "brain.Event:2"));
}

std::string RestartRecord(double time, int64_t step) {
  return Record(Double(kWallTime, time) + Integer(kStep, step) +
                Part(kSessionLog, Integer(kStatus, kStart)));
}

std::string ScalarsRecord(double time, int64_t step,
                          const std::vector<std::pair<std::string, double>>& values) {
  std::string summary;
  for (const auto& [tag, value] : values) {
    summary += Part(kValue, Part(kTag, tag) + Float(kSimpleValue, static_cast<float>(value)));
  }
  return Record(Double(kWallTime, time) + Integer(kStep, step) + Part(kSummary, summary));
}

}  // namespace report
}  // namespace longrange
