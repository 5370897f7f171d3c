// Text to token ids and back.

#ifndef LONGRANGE_COMMON_DATA_TOKENIZER_H_
#define LONGRANGE_COMMON_DATA_TOKENIZER_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace longrange {

class Tokenizer {
 public:
  virtual ~Tokenizer() = default;
  // Ids are in [0, vocab_size()).
  virtual int32_t vocab_size() const = 0;
  // Text is only text: what looks like a special token's name in it is not one.
  virtual std::vector<int32_t> Encode(absl::string_view text) const = 0;
  // Decode(Encode(text)) == text; special tokens come out as their names.
  virtual std::string Decode(absl::Span<const int32_t> ids) const = 0;
  // The id of a special token, "<bos>". NotFound: lists those that exist.
  virtual absl::StatusOr<int32_t> SpecialId(absl::string_view name) const = 0;
  // What a checkpoint says of its ids: "bytes", "symbols"; "": nothing that a checkpoint knows.
  virtual absl::string_view kind() const { return ""; }
  // The names of the special tokens, which are the last ids, in order.
  virtual std::vector<std::string> special_tokens() const { return {}; }
};

// The text of tokens where 0..255 are bytes and 256 + i is names[i]; any other id is fatal.
std::string DecodeBytesAndNames(absl::Span<const int32_t> ids, absl::Span<const std::string> names);

// Bytes are ids 0..255; special token i of the list is 256 + i.
class ByteTokenizer : public Tokenizer {
 public:
  explicit ByteTokenizer(
      std::vector<std::string> specials = {});  // names are distinct and not empty

  int32_t vocab_size() const override { return 256 + static_cast<int32_t>(specials_.size()); }
  std::vector<int32_t> Encode(absl::string_view text) const override;
  std::string Decode(absl::Span<const int32_t> ids) const override;
  absl::StatusOr<int32_t> SpecialId(absl::string_view name) const override;
  absl::string_view kind() const override { return "bytes"; }
  std::vector<std::string> special_tokens() const override { return specials_; }

 private:
  std::vector<std::string> specials_;
};

// Special token i of the list is id i, and there are no other ids: what tasks that hide nothing in
// text are made of. Text that is not empty has no tokens; encoding it is fatal.
class SymbolTokenizer : public Tokenizer {
 public:
  explicit SymbolTokenizer(std::vector<std::string> names);  // distinct and not empty

  int32_t vocab_size() const override { return static_cast<int32_t>(names_.size()); }
  std::vector<int32_t> Encode(absl::string_view text) const override;
  std::string Decode(absl::Span<const int32_t> ids) const override;
  absl::StatusOr<int32_t> SpecialId(absl::string_view name) const override;
  absl::string_view kind() const override { return "symbols"; }
  std::vector<std::string> special_tokens() const override { return names_; }

 private:
  std::vector<std::string> names_;
};

}  // namespace longrange

#endif  // LONGRANGE_COMMON_DATA_TOKENIZER_H_
