#include "papers/long_range_arena/images.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/io/atomic_file.h"
#include "common/testing/matchers.h"

namespace longrange::long_range_arena {
namespace {

// Colours as Pillow and TensorFlow convert them are goldens/gray.jsonl; here that integers of the
// latter are what its float function and its conversion of types make of them.
TEST(Gray, OfTensorflowIsCutDown) {
  EXPECT_EQ(TensorflowGray(0, 0, 0), 0);
  EXPECT_EQ(TensorflowGray(255, 255, 255), 255);  // 0.9999 * 255.5
  EXPECT_EQ(TensorflowGray(1, 1, 1), 1);          // 1.0019
  EXPECT_EQ(TensorflowGray(255, 0, 0), 76);       // 76.37
  for (int level = 0; level < 256; ++level) {
    const auto grey = static_cast<uint8_t>(level);
    EXPECT_EQ(PillowGray(grey, grey, grey), level);
  }
}

std::string Record(int label, uint8_t red, uint8_t green, uint8_t blue) {
  std::string record(1, static_cast<char>(label));
  for (const uint8_t channel : {red, green, blue}) record.append(1024, static_cast<char>(channel));
  return record;
}

TEST(Cifar, IsRead) {
  std::string bytes = Record(3, 255, 0, 0) + Record(9, 10, 200, 30);
  bytes[1 + 5] = 0;  // one pixel of the first image is black
  for (const Gray gray : {Gray::kPillow, Gray::kTensorflow}) {
    Images images;
    ASSERT_THAT(AppendCifar(bytes, "batch", gray, &images), IsOk());
    EXPECT_THAT(images.labels, testing::ElementsAre(3, 9));
    ASSERT_EQ(images.pixels.size(), 2048u);
    EXPECT_EQ(images.of(0)[4], 76);
    EXPECT_EQ(images.of(0)[5], 0);
    EXPECT_EQ(images.of(1)[0],
              gray == Gray::kPillow ? PillowGray(10, 200, 30) : TensorflowGray(10, 200, 30));
  }
}

TEST(Cifar, WhatIsWrongIsSaid) {
  const std::string good = Record(0, 1, 2, 3);
  const auto status = [](const std::string& bytes) {
    Images images;
    return AppendCifar(bytes, "batch", Gray::kPillow, &images);
  };
  EXPECT_THAT(status(""), StatusIs(absl::StatusCode::kDataLoss, "batch: 0 bytes"));
  EXPECT_THAT(status(good.substr(0, 3072)),
              StatusIs(absl::StatusCode::kDataLoss, "batch: 3072 bytes (expected images of 3073"));
  EXPECT_THAT(status(good + "x"), StatusIs(absl::StatusCode::kDataLoss, "batch: 3074 bytes"));
  EXPECT_THAT(status(good + Record(10, 0, 0, 0)),
              StatusIs(absl::StatusCode::kDataLoss, "batch: image 1: label 10 (expected 0 to 9)"));
  EXPECT_THAT(status(good + Record(255, 0, 0, 0)),
              StatusIs(absl::StatusCode::kDataLoss, "label 255"));
}

// Sizes and digests are of the files that Toronto publishes; another file of a right name is none.
TEST(Cifar, IsThePublishedOne) {
  const std::string folder = absl::StrCat(testing::TempDir(), "/cifar");
  ASSERT_THAT(RemoveAll(folder), IsOk());
  ASSERT_THAT(MakeDirs(folder), IsOk());
  for (const std::string& what :
       {folder, std::string("data_batch_1.bin"), std::string("cifar-10-binary.tar.gz")})
    EXPECT_THAT(ReadCifar(folder, Gray::kPillow).status(),
                StatusIs(absl::StatusCode::kNotFound, what));
  const std::string path = absl::StrCat(folder, "/data_batch_1.bin");
  ASSERT_THAT(WriteFileAtomically(path, Record(0, 1, 2, 3)), IsOk());
  EXPECT_THAT(ReadCifar(folder, Gray::kPillow).status(),
              StatusIs(absl::StatusCode::kDataLoss, "3073 bytes (expected 30730000"));
  std::string all;
  for (int i = 0; i < 10000; ++i) all += Record(i % 10, 1, 2, 3);
  ASSERT_THAT(WriteFileAtomically(path, all), IsOk());
  EXPECT_THAT(ReadCifar(folder, Gray::kPillow).status(),
              StatusIs(absl::StatusCode::kDataLoss, "expected cee916563c9f80d8"));
}

TEST(Shapes, AreTenDifferentOnes) {
  constexpr int64_t kSide = 32;
  // Mean distance between an image's shades on a fixed place and size cannot be asked for, so: the
  // same numbers give the same image, others another, and the label decides what is drawn.
  for (int64_t label = 0; label < kImageClasses; ++label) {
    const std::vector<uint8_t> one = MakeShape(kSide, label, Rng(1)),
                               other = MakeShape(kSide, label, Rng(2));
    EXPECT_EQ(one.size(), static_cast<size_t>(kSide * kSide));
    EXPECT_EQ(one, MakeShape(kSide, label, Rng(1)));
    EXPECT_NE(one, other);
    for (int64_t more = label + 1; more < kImageClasses; ++more) {
      const std::vector<uint8_t> another = MakeShape(kSide, more, Rng(1));
      int64_t differ = 0;  // by more than noise
      for (size_t i = 0; i < one.size(); ++i) differ += std::abs(one[i] - another[i]) > 60;
      EXPECT_GT(differ, 8) << label << " and " << more;
    }
  }
}

// Every shape can be told from what is behind it: two shades, a third of the range apart.
TEST(Shapes, StandOut) {
  for (int i = 0; i < 200; ++i) {
    std::vector<uint8_t> pixels = MakeShape(24, i % kImageClasses, Rng(3).Child(i));
    std::sort(pixels.begin(), pixels.end());
    EXPECT_GT(pixels[pixels.size() * 98 / 100] - pixels[pixels.size() * 2 / 100], 70) << i;
  }
}

}  // namespace
}  // namespace longrange::long_range_arena
