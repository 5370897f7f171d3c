// Strict reading and repeatable writing of safetensors files.
//
// A file is: the header's length (8 bytes, little-endian), the header (JSON: name -> dtype, shape,
// data_offsets; an object __metadata__ of strings), the data. Nothing is believed before it has
// been checked against the file's size. Refused, beside what is no JSON: a header above 100 MB or
// not starting with '{', keys that appear twice or are not known, types that are not known, shapes
// whose size overflows or differs from the bytes given, and data with holes, overlaps or bytes that
// belong to no tensor. Errors name the file and the tensor, with expected and got.
//
// Reading takes at most twice the file and 64 MB; for that, strings above 2 MB, shapes of more than
// 32 dimensions and headers of a great many tiny tensors are refused. safetensors_agreement.py
// compares what is accepted with the reference implementation and lists where this is stricter.

#ifndef LONGRANGE_COMMON_IO_SAFETENSORS_H_
#define LONGRANGE_COMMON_IO_SAFETENSORS_H_

#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/io/tensor_map.h"
#include "common/tensor/tensor.h"

namespace longrange {

using SafetensorsMetadata = std::map<std::string, std::string>;

// What the header says of one tensor.
struct SafetensorsEntry {
  std::string dtype;  // as in the file: "F32"
  Shape shape;
  int64_t begin = 0, end = 0;  // bytes, in the data section
};

// An open file whose header has been checked; tensors are read one by one when asked for (no mmap:
// a file that shrinks meanwhile gives an error, not a signal).
class SafetensorsReader {
 public:
  static absl::StatusOr<std::unique_ptr<SafetensorsReader>> Open(absl::string_view path);
  ~SafetensorsReader();
  SafetensorsReader(const SafetensorsReader&) = delete;
  SafetensorsReader& operator=(const SafetensorsReader&) = delete;

  const std::string& path() const { return path_; }
  const SafetensorsMetadata& metadata() const { return metadata_; }
  const std::map<std::string, SafetensorsEntry>& entries() const { return entries_; }

  // F32, F64, BF16, I32, I64 and U8 as they are, F16 as float32, BOOL as uint8 (0 or 1). NotFound
  // for a name that is not in the file, Unimplemented for the other types.
  absl::StatusOr<Tensor> Read(absl::string_view name) const;

 private:
  SafetensorsReader() = default;

  std::string path_;
  int fd_ = -1;
  int64_t data_begin_ = 0;  // of the data section, in the file
  SafetensorsMetadata metadata_;
  std::map<std::string, SafetensorsEntry> entries_;
};

struct SafetensorsFile {
  SafetensorsMetadata metadata;
  TensorMap tensors;

  // Null where there is none.
  const Tensor* Find(absl::string_view name) const;
};

// The whole file.
absl::StatusOr<SafetensorsFile> ReadSafetensors(absl::string_view path);

// Writes the file atomically; the same tensors and metadata give the same bytes. The data is in the
// order of element size (large first), then name, so that every tensor is aligned to its elements.
// Tensors must be on the CPU; uint8 is written as U8. InvalidArgument for names that the format
// cannot hold.
absl::Status WriteSafetensors(absl::string_view path, const TensorMap& tensors,
                              const SafetensorsMetadata& metadata = {});

}  // namespace longrange

#endif  // LONGRANGE_COMMON_IO_SAFETENSORS_H_
