#include "common/io/safetensors.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <limits>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/base/one_line.h"
#include "common/base/status_macros.h"
#include "common/io/atomic_file.h"
#include "common/io/json.h"

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
              "the format's data is little-endian and is copied as it is");

namespace longrange {
namespace {

constexpr int64_t kLengthBytes = 8;
constexpr int64_t kMaxHeaderBytes = 100'000'000;  // as in the reference implementation
constexpr size_t kMaxRank = 32;
constexpr char kMetadataKey[] = "__metadata__";

// What keeps the memory of reading below twice the file and 64 MB. The parser holds a few copies of
// the string it is at; of a tensor or a key of the metadata, what is held is far larger than the
// least that a header needs to name it. Bytes, generously: a tensor is two map nodes, a handle and
// a block of 64 bytes.
constexpr int64_t kMaxStringBytes = int64_t{2} << 20;
constexpr int64_t kFreeMemory = int64_t{24} << 20;  // beside the file's own size
constexpr char kTooMuchMemory[] =
    "its tensors and metadata would take too much memory for a file of this size";
constexpr int64_t kTensorMemory = 768, kMetadataMemory = 256;

struct FileType {
  const char* name;
  int64_t bits;  // of one element
};
// The types that the format knows. Which of them can be read is TensorType's business.
constexpr FileType kFileTypes[] = {
    {"F4", 4},          {"F6_E2M3", 6}, {"F6_E3M2", 6}, {"BOOL", 8},    {"U8", 8},
    {"I8", 8},          {"F8_E5M2", 8}, {"F8_E4M3", 8}, {"F8_E8M0", 8}, {"F8_E4M3FNUZ", 8},
    {"F8_E5M2FNUZ", 8}, {"I16", 16},    {"U16", 16},    {"F16", 16},    {"BF16", 16},
    {"I32", 32},        {"U32", 32},    {"F32", 32},    {"C64", 64},    {"F64", 64},
    {"I64", 64},        {"U64", 64}};

// Bits of one element; 0 for a type that is not known.
int64_t FileTypeBits(absl::string_view name) {
  for (const FileType& type : kFileTypes) {
    if (name == type.name) return type.bits;
  }
  return 0;
}

const char* FileTypeOf(DType dtype) {
  switch (dtype) {
    case DType::kFloat32:
      return "F32";
    case DType::kFloat64:
      return "F64";
    case DType::kBFloat16:
      return "BF16";
    case DType::kInt32:
      return "I32";
    case DType::kInt64:
      return "I64";
    case DType::kUInt8:
      return "U8";
  }
  return "";
}

// A name or a string of the file, for messages.
std::string Quoted(absl::string_view text) { return absl::StrCat("\"", OneLine(text, 100), "\""); }

// Parser of the header: takes nlohmann's events, of which only those of this format are allowed. No
// document is built, so the memory is that of the entries.
class HeaderParser {
 public:
  HeaderParser(int64_t file_bytes, SafetensorsMetadata* metadata,
               std::map<std::string, SafetensorsEntry>* entries)
      : memory_left_(file_bytes + kFreeMemory), metadata_(metadata), entries_(entries) {}

  bool null() { return Unexpected("null"); }
  bool boolean(bool) { return Unexpected("a boolean"); }
  bool number_integer(int64_t value) {
    return Unexpected(absl::StrCat("the number ", value));
  }  // a negative one
  bool number_float(double, const std::string& text) {
    return Unexpected(absl::StrCat("the number ", OneLine(text, 40)));
  }
  bool number_unsigned(uint64_t value) {
    if (where_ != kShape && where_ != kOffsets)
      return Unexpected(absl::StrCat("the number ", value));
    if (value > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
      return Fail(absl::StrCat(Name(), FieldName(), ": ", value, " is too large"));
    }
    if (where_ == kShape) {
      if (static_cast<size_t>(entry_.shape.rank()) == kMaxRank) {
        return Fail(absl::StrCat(Name(), "shape: more than ", kMaxRank, " dimensions"));
      }
      entry_.shape.Append(static_cast<int64_t>(value));
    } else {
      if (num_offsets_ == 2)
        return Fail(absl::StrCat(Name(), "data_offsets: expected 2 numbers, got more"));
      (num_offsets_ == 0 ? entry_.begin : entry_.end) = static_cast<int64_t>(value);
      ++num_offsets_;
    }
    return true;
  }
  bool string(std::string& value) {
    if (where_ == kMetadata) {
      const bool fits = Take(kMetadataMemory, 2 * (key_.size() + value.size()));
      (*metadata_)[key_] = std::move(value);
      return fits;
    }
    if (where_ != kEntry || key_ != "dtype")
      return Unexpected(absl::StrCat("the string ", Quoted(value)));
    if (FileTypeBits(value) == 0)
      return Fail(absl::StrCat(Name(), "unknown dtype ", Quoted(value)));
    entry_.dtype = std::move(value);
    return true;
  }
  bool binary(nlohmann::json::binary_t&) { return Unexpected("a binary value"); }

  bool start_object(size_t) {
    switch (where_) {
      case kOutside:
        where_ = kRoot;
        return true;
      case kRoot:
        if (key_ == kMetadataKey) {
          where_ = kMetadata;
        } else {
          name_ = key_;
          entry_ = SafetensorsEntry();
          has_dtype_ = has_shape_ = has_offsets_ = false;
          where_ = kEntry;
        }
        return true;
      default:
        return Unexpected("an object");
    }
  }
  bool key(std::string& key) {
    switch (where_) {
      case kRoot:
        if (key == kMetadataKey ? std::exchange(has_metadata_, true) : entries_->count(key) > 0) {
          return Fail(absl::StrCat("name ", Quoted(key), " appears twice"));
        }
        break;
      case kMetadata:
        if (metadata_->count(key) > 0)
          return Fail(absl::StrCat("__metadata__: key ", Quoted(key), " appears twice"));
        break;
      default: {  // kEntry: no other object has keys
        bool* seen = key == "dtype"          ? &has_dtype_
                     : key == "shape"        ? &has_shape_
                     : key == "data_offsets" ? &has_offsets_
                                             : nullptr;
        if (seen == nullptr) {
          return Fail(absl::StrCat(Name(), "unknown key ", Quoted(key),
                                   ", expected dtype, shape, data_offsets"));
        }
        if (std::exchange(*seen, true))
          return Fail(absl::StrCat(Name(), "key ", Quoted(key), " appears twice"));
      }
    }
    key_ = std::move(key);
    return true;
  }
  bool end_object() {
    if (where_ == kEntry) {
      const char* missing = !has_dtype_     ? "dtype"
                            : !has_shape_   ? "shape"
                            : !has_offsets_ ? "data_offsets"
                                            : nullptr;
      if (missing != nullptr) return Fail(absl::StrCat(Name(), missing, " is missing"));
      if (!Take(kTensorMemory, 3 * name_.size())) return false;
      entries_->emplace(std::move(name_), std::move(entry_));
    }
    where_ = where_ == kRoot ? kOutside : kRoot;
    return true;
  }
  bool start_array(size_t) {
    if (where_ != kEntry || key_ == "dtype") return Unexpected("an array");
    where_ = key_ == "shape" ? kShape : kOffsets;
    num_offsets_ = 0;
    return true;
  }
  bool end_array() {
    if (where_ == kOffsets && num_offsets_ != 2) {
      return Fail(absl::StrCat(Name(), "data_offsets: expected 2 numbers, got ", num_offsets_));
    }
    where_ = kEntry;
    return true;
  }
  bool parse_error(size_t position, const std::string&, const nlohmann::detail::exception& e) {
    const std::string text = e.what();
    const size_t end = text.find("] ");
    return Fail(absl::StrCat(OneLine(end == std::string::npos ? text : text.substr(end + 2)),
                             " (byte ", position, " of the header)"));
  }

  const std::string& error() const { return error_; }
  // Of what reading the whole file may take beside its size; negative: too much.
  int64_t memory_left() const { return memory_left_; }

 private:
  enum Where { kOutside, kRoot, kMetadata, kEntry, kShape, kOffsets };

  bool Fail(std::string why) {
    error_ = std::move(why);
    return false;
  }
  std::string Name() const { return absl::StrCat("tensor ", Quoted(name_), ": "); }
  bool Take(int64_t fixed, size_t bytes) {
    memory_left_ -= fixed + static_cast<int64_t>(bytes);
    return memory_left_ >= 0 || Fail(kTooMuchMemory);
  }
  const char* FieldName() const { return where_ == kShape ? "shape" : "data_offsets"; }
  bool Unexpected(std::string got) {
    switch (where_) {
      case kOutside:
        return Fail(absl::StrCat("expected an object, got ", got));
      case kRoot:
        return Fail(absl::StrCat(Quoted(key_), ": expected an object, got ", got));
      case kMetadata:
        return Fail(absl::StrCat("__metadata__: ", Quoted(key_), ": expected a string, got ", got));
      case kEntry:
        return Fail(absl::StrCat(Name(), key_, ": expected ",
                                 key_ == "dtype" ? "a string" : "an array", ", got ", got));
      case kShape:
      case kOffsets:
        break;
    }
    return Fail(absl::StrCat(Name(), FieldName(), ": expected a whole number >= 0, got ", got));
  }

  int64_t memory_left_;
  SafetensorsMetadata* metadata_;
  std::map<std::string, SafetensorsEntry>* entries_;
  Where where_ = kOutside;
  std::string key_;   // the last one seen
  std::string name_;  // the tensor's
  SafetensorsEntry entry_;
  int num_offsets_ = 0;
  bool has_metadata_ = false, has_dtype_ = false, has_shape_ = false, has_offsets_ = false;
  std::string error_;
};

// Bits of a tensor, or -1 where they, or the sizes of its dimensions other than zero multiplied,
// overflow.
int64_t CheckedBits(const Shape& shape, int64_t element_bits) {
  int64_t product = element_bits;
  bool empty = false;
  for (const int64_t d : shape.dims()) {
    if (d == 0) {
      empty = true;
    } else if (__builtin_mul_overflow(product, d, &product)) {
      return -1;
    }
  }
  return empty ? 0 : product;
}

// Every tensor has the bytes its shape asks for, and the tensors cover the data section exactly.
absl::Status CheckLayout(const std::map<std::string, SafetensorsEntry>& entries,
                         int64_t data_bytes) {
  std::vector<std::pair<const std::string*, const SafetensorsEntry*>> order;
  order.reserve(entries.size());
  for (const auto& [name, entry] : entries) {
    const auto fail = [&name = name](const std::string& why) {
      return absl::InvalidArgumentError(absl::StrCat("tensor ", Quoted(name), ": ", why));
    };
    if (entry.begin > entry.end || entry.end > data_bytes) {
      return fail(absl::StrCat("data_offsets [", entry.begin, ", ", entry.end,
                               "] are no range within the ", data_bytes, " bytes of data"));
    }
    const int64_t bits = CheckedBits(entry.shape, FileTypeBits(entry.dtype));
    if (bits < 0)
      return fail(
          absl::StrCat("shape ", entry.shape.ToString(), " of ", entry.dtype, " overflows"));
    if (bits % 8 != 0) {
      return fail(absl::StrCat("shape ", entry.shape.ToString(), " of ", entry.dtype, " needs ",
                               bits, " bits, expected whole bytes"));
    }
    const int64_t bytes = bits / 8;
    if (bytes != entry.end - entry.begin) {
      return fail(absl::StrCat("shape ", entry.shape.ToString(), " of ", entry.dtype, " needs ",
                               bytes, " bytes, data_offsets give ", entry.end - entry.begin));
    }
    order.emplace_back(&name, &entry);
  }
  std::sort(order.begin(), order.end(), [](const auto& a, const auto& b) {
    return std::tie(a.second->begin, a.second->end, *a.first) <
           std::tie(b.second->begin, b.second->end, *b.first);
  });
  int64_t at = 0;
  for (const auto& [name, entry] : order) {
    if (entry->begin != at) {
      return absl::InvalidArgumentError(
          absl::StrCat("tensor ", Quoted(*name), ": data begins at ", entry->begin, ", expected ",
                       at, entry->begin < at ? " (it overlaps another's)" : " (a hole)"));
    }
    at = entry->end;
  }
  if (at != data_bytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("the tensors cover ", at, " bytes of data, expected all ", data_bytes));
  }
  return absl::OkStatus();
}

absl::Status PreadAll(int fd, const std::string& path, int64_t offset, char* out, int64_t size) {
  while (size > 0) {
    const ssize_t n = pread(fd, out, static_cast<size_t>(size), offset);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return absl::ErrnoToStatus(errno, absl::StrCat("cannot read ", path));
    if (n == 0)
      return absl::DataLossError(absl::StrCat(path, ": the file shrank while it was read"));
    out += n;
    offset += n;
    size -= n;
  }
  return absl::OkStatus();
}

float HalfToFloat(uint16_t half) {
  const uint32_t sign = uint32_t{half & 0x8000u} << 16;
  uint32_t exponent = (half >> 10) & 31, mantissa = half & 0x3FF;
  uint32_t bits;
  if (exponent == 31) {
    bits = sign | 0x7F800000 | (mantissa << 13);
  } else if (exponent != 0) {
    bits = sign | ((exponent + 112) << 23) | (mantissa << 13);
  } else {
    // Subnormal: mantissa * 2^-24, exact in float32.
    const float magnitude = static_cast<float>(mantissa) * 0x1p-24f;
    std::memcpy(&bits, &magnitude, sizeof(bits));
    bits |= sign;
  }
  float value;
  std::memcpy(&value, &bits, sizeof(value));
  return value;
}

}  // namespace

SafetensorsReader::~SafetensorsReader() {
  if (fd_ >= 0) close(fd_);
}

absl::StatusOr<std::unique_ptr<SafetensorsReader>> SafetensorsReader::Open(absl::string_view path) {
  std::unique_ptr<SafetensorsReader> reader(new SafetensorsReader());
  reader->path_ = std::string(path);
  const auto fail = [&](const std::string& why) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": ", why));
  };
  // Without O_NONBLOCK, opening a pipe would wait for its writer.
  reader->fd_ = open(reader->path_.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (reader->fd_ < 0) return absl::ErrnoToStatus(errno, absl::StrCat("cannot open ", path));
  struct stat info;
  if (fstat(reader->fd_, &info) != 0)
    return absl::ErrnoToStatus(errno, absl::StrCat("cannot look at ", path));
  if (!S_ISREG(info.st_mode))
    return absl::FailedPreconditionError(absl::StrCat(path, ": not a regular file"));
  const int64_t size = info.st_size;
  if (size < kLengthBytes)
    return fail(absl::StrCat("no safetensors: it has ", size, " bytes, expected at least 8"));
  uint64_t length;
  LR_RETURN_IF_ERROR(
      PreadAll(reader->fd_, reader->path_, 0, reinterpret_cast<char*>(&length), kLengthBytes));
  if (length > static_cast<uint64_t>(kMaxHeaderBytes)) {
    return fail(absl::StrCat("no safetensors: a header of ", length, " bytes, at most ",
                             kMaxHeaderBytes, " are allowed"));
  }
  const auto header_bytes = static_cast<int64_t>(length);
  if (header_bytes > size - kLengthBytes) {
    return fail(
        absl::StrCat("cut short: a header of ", header_bytes, " bytes in a file of ", size));
  }
  std::string header(static_cast<size_t>(header_bytes), '\0');
  LR_RETURN_IF_ERROR(PreadAll(reader->fd_, reader->path_, kLengthBytes, &header[0], header_bytes));
  if (header.empty() || header[0] != '{')
    return fail("no safetensors: the header does not start with {");
  // nlohmann's lexer takes a NUL for the end of the input and would ignore what follows it.
  if (header.find('\0') != std::string::npos) return fail("a NUL byte in the header");
  const absl::Status tokens = CheckJsonTokens(header, kMaxStringBytes);
  if (!tokens.ok()) return fail(std::string(tokens.message()));
  HeaderParser parser(size, &reader->metadata_, &reader->entries_);
  if (!nlohmann::json::sax_parse(header, &parser)) return fail(parser.error());
  reader->data_begin_ = kLengthBytes + header_bytes;
  const absl::Status layout = CheckLayout(reader->entries_, size - reader->data_begin_);
  if (!layout.ok()) return fail(std::string(layout.message()));
  // As float32, halves take twice their bytes.
  int64_t more = 0;
  for (const auto& [name, entry] : reader->entries_) {
    if (entry.dtype == "F16") more += entry.end - entry.begin;
  }
  if (more > parser.memory_left()) return fail(kTooMuchMemory);
  return reader;
}

absl::StatusOr<Tensor> SafetensorsReader::Read(absl::string_view name) const {
  const auto it = entries_.find(std::string(name));
  if (it == entries_.end())
    return absl::NotFoundError(absl::StrCat(path_, ": no tensor ", Quoted(name)));
  const SafetensorsEntry& entry = it->second;
  const int64_t begin = data_begin_ + entry.begin;
  const int64_t bytes = entry.end - entry.begin;
  if (entry.dtype == "F16") {
    Tensor t = Tensor::Empty(entry.shape, DType::kFloat32);
    std::vector<uint16_t> halves(static_cast<size_t>(std::min<int64_t>(bytes / 2, 1 << 16)));
    float* out = t.mutable_data<float>();
    for (int64_t at = 0; at < bytes;) {
      const int64_t part = std::min(bytes - at, static_cast<int64_t>(2 * halves.size()));
      LR_RETURN_IF_ERROR(
          PreadAll(fd_, path_, begin + at, reinterpret_cast<char*>(halves.data()), part));
      out = std::transform(halves.begin(), halves.begin() + part / 2, out, HalfToFloat);
      at += part;
    }
    return t;
  }
  DType dtype;
  if (entry.dtype == "F32") {
    dtype = DType::kFloat32;
  } else if (entry.dtype == "F64") {
    dtype = DType::kFloat64;
  } else if (entry.dtype == "BF16") {
    dtype = DType::kBFloat16;
  } else if (entry.dtype == "I32") {
    dtype = DType::kInt32;
  } else if (entry.dtype == "I64") {
    dtype = DType::kInt64;
  } else if (entry.dtype == "U8" || entry.dtype == "BOOL") {
    dtype = DType::kUInt8;
  } else {
    return absl::UnimplementedError(
        absl::StrCat(path_, ": tensor ", Quoted(name), ": dtype ", entry.dtype,
                     " cannot be read; F32, F64, BF16, F16, I32, I64, U8, BOOL can"));
  }
  Tensor t = Tensor::Empty(entry.shape, dtype);
  LR_RETURN_IF_ERROR(PreadAll(fd_, path_, begin, static_cast<char*>(t.mutable_raw_data()), bytes));
  if (entry.dtype == "BOOL") {
    const uint8_t* values = t.data<uint8_t>();
    for (int64_t i = 0; i < t.numel(); ++i) {
      if (values[i] > 1) {
        return absl::InvalidArgumentError(absl::StrCat(path_, ": tensor ", Quoted(name),
                                                       ": element ", i, " of type BOOL is ",
                                                       int{values[i]}, ", expected 0 or 1"));
      }
    }
  }
  return t;
}

const Tensor* SafetensorsFile::Find(absl::string_view name) const {
  const auto it = tensors.find(std::string(name));
  return it == tensors.end() ? nullptr : &it->second;
}

absl::StatusOr<SafetensorsFile> ReadSafetensors(absl::string_view path) {
  LR_ASSIGN_OR_RETURN(const std::unique_ptr<SafetensorsReader> reader,
                      SafetensorsReader::Open(path));
  SafetensorsFile file;
  file.metadata = reader->metadata();
  for (const auto& [name, entry] : reader->entries()) {
    LR_ASSIGN_OR_RETURN(Tensor t, reader->Read(name));
    file.tensors.emplace_hint(file.tensors.end(), name, std::move(t));
  }
  return file;
}

absl::Status WriteSafetensors(absl::string_view path, const TensorMap& tensors,
                              const SafetensorsMetadata& metadata) {
  const auto fail = [&](const std::string& why) {
    return absl::InvalidArgumentError(absl::StrCat("cannot write ", path, ": ", why));
  };
  std::vector<std::pair<const std::string*, const Tensor*>> order;
  for (const auto& [name, tensor] : tensors) {
    if (!IsValidUtf8(name)) return fail("a tensor's name is not valid UTF-8");
    if (name == kMetadataKey) return fail("no tensor can be called __metadata__");
    if (!tensor.defined()) return fail(absl::StrCat("tensor ", JsonQuote(name), " is undefined"));
    if (tensor.device() != Device::kCpu) {
      return fail(absl::StrCat("tensor ", JsonQuote(name), " is on ",
                               std::string(Name(tensor.device())), ", expected cpu"));
    }
    if (static_cast<size_t>(tensor.rank()) > kMaxRank) {
      return fail(
          absl::StrCat("tensor ", JsonQuote(name), " has more than ", kMaxRank, " dimensions"));
    }
    order.emplace_back(&name, &tensor);
  }
  std::stable_sort(order.begin(), order.end(), [](const auto& a, const auto& b) {
    return SizeOf(a.second->dtype()) > SizeOf(b.second->dtype());
  });

  std::vector<std::string> fields;
  if (!metadata.empty()) {
    std::vector<std::string> items;
    for (const auto& [key, value] : metadata) {
      if (!IsValidUtf8(key) || !IsValidUtf8(value)) return fail("metadata that is not valid UTF-8");
      items.push_back(absl::StrCat(JsonQuote(key), ":", JsonQuote(value)));
    }
    fields.push_back(absl::StrCat("\"", kMetadataKey, "\":{", absl::StrJoin(items, ","), "}"));
  }
  int64_t at = 0;
  for (const auto& [name, tensor] : order) {
    fields.push_back(absl::StrCat(JsonQuote(*name), ":{\"dtype\":\"", FileTypeOf(tensor->dtype()),
                                  "\",\"shape\":[", absl::StrJoin(tensor->shape().dims(), ","),
                                  "],\"data_offsets\":[", at, ",", at + tensor->bytes(), "]}"));
    at += tensor->bytes();
  }
  std::string header = absl::StrCat("{", absl::StrJoin(fields, ","), "}");
  header.resize((header.size() + 7) / 8 * 8, ' ');
  if (static_cast<int64_t>(header.size()) > kMaxHeaderBytes) {
    return fail(absl::StrCat("a header of ", header.size(), " bytes, at most ", kMaxHeaderBytes,
                             " are allowed"));
  }
  const uint64_t length = header.size();

  LR_ASSIGN_OR_RETURN(const std::unique_ptr<AtomicFileWriter> writer,
                      AtomicFileWriter::Create(path));
  LR_RETURN_IF_ERROR(
      writer->Append(absl::string_view(reinterpret_cast<const char*>(&length), sizeof(length))));
  LR_RETURN_IF_ERROR(writer->Append(header));
  for (const auto& [name, tensor] : order) {
    LR_RETURN_IF_ERROR(writer->Append(absl::string_view(
        static_cast<const char*>(tensor->raw_data()), static_cast<size_t>(tensor->bytes()))));
  }
  return writer->Commit();
}

}  // namespace longrange
