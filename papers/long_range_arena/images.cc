#include "papers/long_range_arena/images.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/io/atomic_file.h"

namespace longrange::long_range_arena {
namespace {

constexpr int64_t kPixels = kCifarSide * kCifarSide;
constexpr int64_t kRecord = 1 + 3 * kPixels;
constexpr int64_t kHeldOut = 5000;

// Is the point x, y, measured from the middle of the shape in units of its size, on it?
bool IsOn(int64_t label, double x, double y) {
  const double distance = std::hypot(x, y), widest = std::max(std::abs(x), std::abs(y));
  const auto bar = [](double at) {
    return static_cast<int64_t>(std::floor((at + 1) * 2.5)) % 2 == 0;
  };
  switch (label) {
    case 0:
      return distance <= 1;
    case 1:
      return distance <= 1 && distance >= 0.6;
    case 2:
      return widest <= 0.85;
    case 3:
      return widest <= 0.85 && widest >= 0.5;
    case 4:
      return y >= -1 && y <= 0.7 && std::abs(x) <= 0.6 * (y + 1);
    case 5:
      return std::abs(x) + std::abs(y) <= 1.1;
    case 6:
      return widest <= 1 && std::min(std::abs(x), std::abs(y)) <= 0.25;
    case 7:
      return widest <= 0.9 && std::min(std::abs(x - y), std::abs(x + y)) <= 0.35;
    case 8:
      return widest < 1 && bar(y);
    default:
      return widest < 1 && bar(x);
  }
}

}  // namespace

double WeightedGray(double red, double green, double blue) {
  return 0.2989 * red + 0.5870 * green + 0.1140 * blue;
}

uint8_t TensorflowGray(uint8_t red, uint8_t green, uint8_t blue) {
  return static_cast<uint8_t>(WeightedGray(red / 255.0, green / 255.0, blue / 255.0) * 255.5);
}

uint8_t PillowGray(uint8_t red, uint8_t green, uint8_t blue) {
  return static_cast<uint8_t>((19595 * red + 38470 * green + 7471 * blue + 32768) >> 16);
}

const Images& ImageSplits::of(Split split) const {
  return split == Split::kTrain ? train : split == Split::kValidation ? validation : test;
}

absl::Status AppendCifar(absl::string_view bytes, absl::string_view what, Gray gray,
                         Images* images) {
  const auto size = static_cast<int64_t>(bytes.size());
  if (size == 0 || size % kRecord != 0) {
    return absl::DataLossError(absl::StrCat(what, ": ", size, " bytes (expected images of ",
                                            kRecord, " bytes each, one or more)"));
  }
  const int64_t count = size / kRecord;
  images->pixels.reserve(images->pixels.size() + count * kPixels);
  for (int64_t i = 0; i < count; ++i) {
    const auto* record = reinterpret_cast<const uint8_t*>(bytes.data()) + i * kRecord;
    if (record[0] >= kImageClasses) {
      return absl::DataLossError(absl::StrCat(what, ": image ", i, ": label ", int{record[0]},
                                              " (expected 0 to ", kImageClasses - 1, ")"));
    }
    images->labels.push_back(record[0]);
    const uint8_t *red = record + 1, *green = red + kPixels, *blue = green + kPixels;
    for (int64_t p = 0; p < kPixels; ++p) {
      images->pixels.push_back(gray == Gray::kPillow ? PillowGray(red[p], green[p], blue[p])
                                                     : TensorflowGray(red[p], green[p], blue[p]));
    }
  }
  return absl::OkStatus();
}

const DataSet& Cifar() {
  constexpr int64_t kBytes = 10000 * kRecord;
  static const auto* set = new DataSet{
      "CIFAR-10, binary version",
      "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz (170052171 bytes, SHA-256 "
      "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd; unpack it and name its "
      "folder cifar-10-batches-bin)",
      {{"data_batch_1.bin", kBytes,
        "cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5"},
       {"data_batch_2.bin", kBytes,
        "a591ca11fa1708a91ee40f54b3da4784ccd871ecf2137de63f51ada8b3fa57ed"},
       {"data_batch_3.bin", kBytes,
        "bbe8596564c0f86427f876058170b84dac6670ddf06d79402899d93ceea26f67"},
       {"data_batch_4.bin", kBytes,
        "014e562d6e23c72197cc727519169a60359f5eccd8945ad5a09d710285ff4e48"},
       {"data_batch_5.bin", kBytes,
        "755304fc0b379caeae8c14f0dac912fbc7d6cd469eb67a1029a08a39453a9add"},
       {"test_batch.bin", kBytes,
        "8e2eb146ae340b09e24670f29cabc6326dba54da8789dab6768acf480273f65b"}}};
  return *set;
}

absl::StatusOr<ImageSplits> ReadCifar(const std::string& folder, Gray gray) {
  ImageSplits splits;
  for (const DataFile& file : Cifar().files) {
    LR_RETURN_IF_ERROR(CheckDataFile(Cifar(), file, folder));
    const std::string path = absl::StrCat(folder, "/", file.name);
    LR_ASSIGN_OR_RETURN(const std::string bytes, ReadFile(path));
    Images& images = &file == &Cifar().files.back() ? splits.test : splits.train;
    LR_RETURN_IF_ERROR(AppendCifar(bytes, path, gray, &images));
  }
  Images &train = splits.train, &held_out = splits.validation;
  const int64_t keep = train.size() - kHeldOut;
  held_out.labels.assign(train.labels.begin() + keep, train.labels.end());
  held_out.pixels.assign(train.pixels.begin() + keep * kPixels, train.pixels.end());
  train.labels.resize(keep);
  train.pixels.resize(keep * kPixels);
  return splits;
}

std::vector<uint8_t> MakeShape(int64_t side, int64_t label, const Rng& rng) {
  RngStream draw(rng);
  const auto width = static_cast<double>(side);
  const double radius = width * (0.2 + 0.15 * draw.Uniform()), room = width - 2 * radius;
  const double middle_x = radius + room * draw.Uniform(), middle_y = radius + room * draw.Uniform();
  // Two shades, at least this far apart.
  constexpr double kContrast = 0.35, kNoise = 0.06;
  const double behind = draw.Uniform(), lower = std::max(0.0, behind - kContrast),
               upper = std::max(0.0, 1 - kContrast - behind);
  double shade = draw.Uniform() * (lower + upper);
  if (shade >= lower) shade += behind + kContrast - lower;
  std::vector<uint8_t> pixels(side * side);
  constexpr int kSamples = 3;  // in each direction, of a pixel
  for (int64_t y = 0; y < side; ++y) {
    for (int64_t x = 0; x < side; ++x) {
      int covered = 0;
      for (int i = 0; i < kSamples * kSamples; ++i) {
        const double u = static_cast<double>(x) + (0.5 + i % kSamples) / kSamples,
                     v = static_cast<double>(y) +
                         (0.5 + static_cast<double>(i / kSamples)) / kSamples;
        covered += IsOn(label, (u - middle_x) / radius, (v - middle_y) / radius) ? 1 : 0;
      }
      const double share = static_cast<double>(covered) / (kSamples * kSamples),
                   value = behind + share * (shade - behind) + kNoise * draw.Normal();
      pixels[y * side + x] = static_cast<uint8_t>(std::lround(255 * std::clamp(value, 0.0, 1.0)));
    }
  }
  return pixels;
}

}  // namespace longrange::long_range_arena
