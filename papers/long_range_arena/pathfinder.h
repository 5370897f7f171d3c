// Pathfinder (Linsley et al. 2018) as in Long Range Arena: two dashed contours among shorter ones,
// and two discs. Do the discs lie on the two ends of one contour?

#ifndef LONGRANGE_PAPERS_LONG_RANGE_ARENA_PATHFINDER_H_
#define LONGRANGE_PAPERS_LONG_RANGE_ARENA_PATHFINDER_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "common/base/rng.h"

namespace longrange::long_range_arena {

// Lengths in pixels. The defaults are those of the 32 x 32 images, its hardest split.
struct PathfinderShape {
  int64_t size = 32;              // of a side
  int64_t contour_length = 14;    // paddles of the two contours
  int64_t distractor_length = 4;  // of each shorter one
  int64_t distractors = 5;        // at most: those that find room
  double paddle_length = 2;
  double paddle_thickness = 0.5;
  // Half of the gap between paddles of a contour; of several, one is drawn for each image.
  std::vector<double> paddle_margins = {1};
  // Between contours, and between turns of one; 0: two margins and a thickness, as the original's
  // paddles keep each other off by a margin around each.
  double clearance = 0;
  double marker_radius = 1.5;
  double seed_distance = 7;  // between the first ends of the two contours
  double continuity = 1;     // a turn by a has the density cos(continuity a)^2, up to a right angle
  double contrast = 0.75;    // brightness of paddles; the discs have 1
};

// What the benchmark's images of this size were made with, by the code that describes its data
// (lra_benchmarks/data/pathfinder.py); of other sizes, what those of the next smaller one were.
//
//   size  paddle length, thickness, margin  discs  seeds apart  continuity  contrast  distractors
//     32       2           0.5       1       1.5        7          1.0        0.75        20
//     64       5           1         1       2.5       12          1.8        0.8         22
//    128       5           1.5       2 or 3  3         20          1.8        0.9         35
//
// Distractors: in paddles, each contour of them having a third of contour_length.
PathfinderShape BenchmarkShape(int64_t size, int64_t contour_length);

struct PathfinderImage {
  std::vector<float> pixels;  // [size * size] in rows, 0 black to 1
  bool connected = false;
};

// Both answers are as likely. ResourceExhausted: contours of this shape find no room.
absl::StatusOr<PathfinderImage> MakePathfinder(const PathfinderShape& shape, const Rng& rng);

}  // namespace longrange::long_range_arena

#endif  // LONGRANGE_PAPERS_LONG_RANGE_ARENA_PATHFINDER_H_
