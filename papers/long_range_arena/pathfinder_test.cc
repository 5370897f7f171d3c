#include "papers/long_range_arena/pathfinder.h"

#include <algorithm>
#include <iostream>
#include <utility>
#include <vector>

#include "common/testing/matchers.h"

namespace longrange::long_range_arena {
namespace {

PathfinderShape Easy() {
  PathfinderShape shape;
  shape.contour_length = 6;
  shape.distractor_length = 2;
  shape.distractors = 10;
  return shape;
}

// Pixels brighter than paddles ever are.
std::vector<std::pair<int64_t, int64_t>> Discs(const PathfinderShape& shape,
                                               const PathfinderImage& image) {
  std::vector<std::pair<int64_t, int64_t>> bright;
  for (int64_t y = 0; y < shape.size; ++y) {
    for (int64_t x = 0; x < shape.size; ++x) {
      if (image.pixels[y * shape.size + x] > shape.contrast + 0.01) bright.emplace_back(y, x);
    }
  }
  return bright;
}

TEST(Pathfinder, TwoDiscsAmongPaddles) {
  for (const PathfinderShape& shape : {PathfinderShape(), Easy()}) {
    int connected = 0;
    constexpr int kCount = 200;
    for (int i = 0; i < kCount; ++i) {
      LR_ASSERT_OK_AND_ASSIGN(const PathfinderImage image, MakePathfinder(shape, Rng(1).Child(i)));
      connected += image.connected;
      ASSERT_EQ(image.pixels.size(), 32u * 32u);
      const auto [low, high] = std::minmax_element(image.pixels.begin(), image.pixels.end());
      EXPECT_EQ(*low, 0);
      EXPECT_EQ(*high, 1);
      const size_t bright = Discs(shape, image).size();
      EXPECT_GE(bright, 4u);   // one disc in the corner of its pixel, the other behind it
      EXPECT_LE(bright, 18u);  // two of radius 1.5
      const auto painted =
          std::count_if(image.pixels.begin(), image.pixels.end(), [](float p) { return p > 0; });
      EXPECT_GT(painted, 60);
      EXPECT_LT(painted, 400);
    }
    EXPECT_NEAR(connected, kCount / 2, 30);
  }
}

// Where dashes leave no gap and contours keep their distance, an image is connected if a walk over
// painted pixels leads from disc to disc.
TEST(Pathfinder, TheAnswerIsTrue) {
  PathfinderShape shape = Easy();
  shape.distractors = 0;
  shape.contour_length = 4;
  shape.paddle_length = 5;
  shape.paddle_margins = {0.1};
  shape.clearance = 4;
  int agree = 0;
  constexpr int kCount = 200;
  for (int i = 0; i < kCount; ++i) {
    LR_ASSERT_OK_AND_ASSIGN(const PathfinderImage image, MakePathfinder(shape, Rng(2).Child(i)));
    const auto discs = Discs(shape, image);
    std::vector<bool> seen(32 * 32, false);
    std::vector<std::pair<int64_t, int64_t>> open = {discs.front()};
    seen[discs.front().first * 32 + discs.front().second] = true;
    while (!open.empty()) {
      const auto [y, x] = open.back();
      open.pop_back();
      for (int64_t dy = -1; dy <= 1; ++dy) {
        for (int64_t dx = -1; dx <= 1; ++dx) {
          const int64_t v = y + dy, u = x + dx;
          if (v < 0 || u < 0 || v >= 32 || u >= 32) continue;
          if (seen[v * 32 + u] || image.pixels[v * 32 + u] < 0.1) continue;
          seen[v * 32 + u] = true;
          open.emplace_back(v, u);
        }
      }
    }
    const bool all = std::all_of(discs.begin(), discs.end(),
                                 [&](const auto& p) { return seen[p.first * 32 + p.second]; });
    agree += all == image.connected;
  }
  EXPECT_EQ(agree, kCount);
}

// Path-X and the sizes between, as the benchmark describes its data; each image has the two
// contours whole, no more distractors than there are, and half of them are connected.
TEST(Pathfinder, TheBenchmarksSizes) {
  const PathfinderShape small = BenchmarkShape(32, 14), defaults;
  EXPECT_EQ(small.distractor_length, defaults.distractor_length);
  EXPECT_EQ(small.distractors, defaults.distractors);
  EXPECT_EQ(BenchmarkShape(32, 6).distractors, 10);
  EXPECT_EQ(BenchmarkShape(64, 14).distractors, 5);
  EXPECT_EQ(BenchmarkShape(128, 14).distractors, 8);
  for (const int64_t size : {32, 64, 128}) {
    const PathfinderShape shape = BenchmarkShape(size, 14);
    EXPECT_EQ(shape.size, size);
    constexpr int kCount = 60;
    int connected = 0;
    double brightness = 0;
    for (int i = 0; i < kCount; ++i) {
      LR_ASSERT_OK_AND_ASSIGN(const PathfinderImage image, MakePathfinder(shape, Rng(6).Child(i)));
      ASSERT_EQ(image.pixels.size(), static_cast<size_t>(size * size));
      connected += image.connected;
      for (const float pixel : image.pixels) brightness += pixel / kCount;
    }
    EXPECT_NEAR(connected, kCount / 2, 15) << size;
    // A paddle is a line with round ends and an edge of one pixel.
    constexpr double kPi = 3.14159265358979323846;
    const double reach = shape.paddle_thickness / 2 + 0.5,
                 area = (shape.paddle_length * (shape.paddle_thickness + 1) + kPi * reach * reach),
                 least = 28 * shape.paddle_length * shape.paddle_thickness * shape.contrast,
                 discs = 2 * kPi * (shape.marker_radius + 0.5) * (shape.marker_radius + 0.5),
                 paddles = 28 + static_cast<double>(shape.distractors * shape.distractor_length),
                 most = discs + paddles * area * shape.contrast;
    EXPECT_GT(brightness, least) << size;
    EXPECT_LT(brightness, most) << size;
    std::cout << size << ": mean brightness " << 255 * brightness / static_cast<double>(size * size)
              << " of 255\n";
  }
}

TEST(Pathfinder, TheSameNumberGivesTheSameImage) {
  LR_ASSERT_OK_AND_ASSIGN(const PathfinderImage a, MakePathfinder(PathfinderShape(), Rng(3)));
  LR_ASSERT_OK_AND_ASSIGN(const PathfinderImage b, MakePathfinder(PathfinderShape(), Rng(3)));
  LR_ASSERT_OK_AND_ASSIGN(const PathfinderImage c, MakePathfinder(PathfinderShape(), Rng(4)));
  EXPECT_EQ(a.pixels, b.pixels);
  EXPECT_NE(a.pixels, c.pixels);
}

TEST(Pathfinder, NoRoomIsSaid) {
  PathfinderShape shape;
  shape.size = 12;
  shape.seed_distance = 3;
  EXPECT_THAT(MakePathfinder(shape, Rng(5)).status(),
              StatusIs(absl::StatusCode::kInvalidArgument, "12 x 12"));
}

}  // namespace
}  // namespace longrange::long_range_arena
