// Images in shades of grey, pixels line by line, with one of ten labels: those of CIFAR-10, and
// generated shapes that stand in for them.

#ifndef LONGRANGE_PAPERS_LONG_RANGE_ARENA_IMAGES_H_
#define LONGRANGE_PAPERS_LONG_RANGE_ARENA_IMAGES_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/base/rng.h"
#include "papers/long_range_arena/data_files.h"
#include "plugins/task.h"

namespace longrange::long_range_arena {

inline constexpr int64_t kImageClasses = 10;
inline constexpr int64_t kCifarSide = 32;

// 0.2989 R + 0.5870 G + 0.1140 B, for channels of 0 to 1: tf.image.rgb_to_grayscale.
double WeightedGray(double red, double green, double blue);
// As an integer of 0 to 255, as that function gives it of integers (which is Long Range Arena's
// way): the weighted sum times 255.5, cut down.
uint8_t TensorflowGray(uint8_t red, uint8_t green, uint8_t blue);
// Pillow's "L" (which is that of S4's code and its followers), rounded in integers.
uint8_t PillowGray(uint8_t red, uint8_t green, uint8_t blue);

enum class Gray { kTensorflow, kPillow };

struct Images {
  int64_t side = kCifarSide;
  std::vector<uint8_t> pixels;  // side * side of each, one image after the other
  std::vector<uint8_t> labels;  // 0 to 9

  int64_t size() const { return static_cast<int64_t>(labels.size()); }
  const uint8_t* of(int64_t i) const { return pixels.data() + i * side * side; }
};

struct ImageSplits {
  Images train, validation, test;
  const Images& of(Split split) const;
};

// Images of CIFAR-10's binary version, appended: a byte of label, then 1024 bytes each of red,
// green and blue. DataLoss: not a whole number of them, none, or another label than 0 to 9.
absl::Status AppendCifar(absl::string_view bytes, absl::string_view what, Gray gray,
                         Images* images);

// CIFAR-10 from the folder with data_batch_1.bin to data_batch_5.bin and test_batch.bin, whose
// sizes and digests are checked; the last 5000 to train on are for validation. Errors as of
// CheckDataFile.
absl::StatusOr<ImageSplits> ReadCifar(const std::string& folder, Gray gray);
const DataSet& Cifar();

// A filled disc, a ring, a square, a frame, a triangle, a diamond, a plus, a cross, bars that lie
// or bars that stand (labels 0 to 9), anywhere, of any size, lighter or darker than what is behind
// it, with noise. [side * side] of 0 to 255.
std::vector<uint8_t> MakeShape(int64_t side, int64_t label, const Rng& rng);

}  // namespace longrange::long_range_arena

#endif  // LONGRANGE_PAPERS_LONG_RANGE_ARENA_IMAGES_H_
