#include "papers/long_range_arena/pathfinder.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"

namespace longrange::long_range_arena {
namespace {

constexpr double kPi = 3.14159265358979323846;

struct Point {
  double x, y;
};

Point Moved(Point p, double angle, double by) {
  return {p.x + by * std::cos(angle), p.y + by * std::sin(angle)};
}

struct Paddle {
  Point tail, head;
};

double Distance(Point p, const Paddle& s) {
  const double dx = s.head.x - s.tail.x, dy = s.head.y - s.tail.y;
  const double square = dx * dx + dy * dy;
  const double along = ((p.x - s.tail.x) * dx + (p.y - s.tail.y) * dy) / std::max(square, 1e-12);
  const double at = std::clamp(along, 0.0, 1.0);
  return std::hypot(p.x - s.tail.x - at * dx, p.y - s.tail.y - at * dy);
}

// Which side of the line through s is p on?
double Side(Point p, const Paddle& s) {
  return (s.head.x - s.tail.x) * (p.y - s.tail.y) - (s.head.y - s.tail.y) * (p.x - s.tail.x);
}

double Distance(const Paddle& a, const Paddle& b) {
  if (Side(a.tail, b) * Side(a.head, b) < 0 && Side(b.tail, a) * Side(b.head, a) < 0) return 0;
  return std::min(
      {Distance(a.tail, b), Distance(a.head, b), Distance(b.tail, a), Distance(b.head, a)});
}

// A contour that grows paddle by paddle.
struct Contour {
  std::vector<Paddle> paddles;
  double angle = 0;  // of the last paddle

  void Shorten(int64_t length) {
    paddles.resize(length, paddles.front());
    const Paddle& last = paddles.back();
    angle = std::atan2(last.head.y - last.tail.y, last.head.x - last.tail.x);
  }
};

class Drawing {
 public:
  Drawing(const PathfinderShape& shape, RngStream* draw) : shape_(shape), draw_(*draw) {
    const auto kinds = static_cast<int64_t>(shape.paddle_margins.size());
    margin_ = shape.paddle_margins[kinds == 1 ? 0 : draw->UniformInt(kinds)];
    clearance_ = shape.clearance > 0 ? shape.clearance : 2 * margin_ + shape.paddle_thickness;
  }

  // A contour of one paddle that starts at `tip` in any direction.
  std::optional<Contour> Begin(Point tip) {
    Contour contour;
    contour.angle = 2 * kPi * draw_.Uniform();
    const Paddle first = {tip, Moved(tip, contour.angle, shape_.paddle_length)};
    if (!HasRoom(first, nullptr)) return std::nullopt;
    contour.paddles.push_back(first);
    return contour;
  }

  // Another paddle at the end of `contour`. False: it has no room.
  bool Extend(Contour* contour) {
    constexpr int kTries = 16;
    const Point pivot = Moved(contour->paddles.back().head, contour->angle, margin_);
    for (int i = 0; i < kTries; ++i) {
      const double angle = contour->angle + Turn();
      const Paddle next = {Moved(pivot, angle, margin_),
                           Moved(pivot, angle, margin_ + shape_.paddle_length)};
      if (!HasRoom(next, contour)) continue;
      contour->paddles.push_back(next);
      contour->angle = angle;
      return true;
    }
    return false;
  }

  // A contour of `length` paddles from anywhere.
  bool AddDistractor(int64_t length) {
    const double side = static_cast<double>(shape_.size);
    std::optional<Contour> contour = Begin({side * draw_.Uniform(), side * draw_.Uniform()});
    if (!contour.has_value()) return false;
    for (int64_t i = 1; i < length; ++i) {
      if (!Extend(&*contour)) return false;
    }
    Keep(*contour);
    return true;
  }

  // Others must keep their distance from it from now on.
  void Keep(const Contour& contour) {
    kept_.insert(kept_.end(), contour.paddles.begin(), contour.paddles.end());
  }

  void ForgetOther() { other_ = nullptr; }
  // A contour that grows at the same time.
  void SetOther(const Contour* other) { other_ = other; }

  std::vector<float> Render(Point marker, Point other_marker) const {
    std::vector<float> pixels(shape_.size * shape_.size, 0.0f);
    for (const Paddle& paddle : kept_)
      Paint(paddle, shape_.paddle_thickness / 2, shape_.contrast, &pixels);
    for (const Point disc : {marker, other_marker})
      Paint({disc, disc}, shape_.marker_radius, 1, &pixels);
    return pixels;
  }

 private:
  // Pixels within `radius` of the line, with an edge of one pixel; what is brighter stays.
  void Paint(const Paddle& line, double radius, double brightness,
             std::vector<float>* pixels) const {
    const auto range = [&](double a, double b) {
      const double low = std::floor(std::min(a, b) - radius - 1),
                   high = std::ceil(std::max(a, b) + radius + 1);
      return std::make_pair(std::max<int64_t>(0, static_cast<int64_t>(low)),
                            std::min(shape_.size, static_cast<int64_t>(high)));
    };
    const auto [top, bottom] = range(line.tail.y, line.head.y);
    const auto [left, right] = range(line.tail.x, line.head.x);
    for (int64_t y = top; y < bottom; ++y) {
      for (int64_t x = left; x < right; ++x) {
        const Point center = {static_cast<double>(x) + 0.5, static_cast<double>(y) + 0.5};
        const double cover = std::clamp(radius + 0.5 - Distance(center, line), 0.0, 1.0);
        float& pixel = (*pixels)[y * shape_.size + x];
        pixel = std::max(pixel, static_cast<float>(brightness * cover));
      }
    }
  }

  double Turn() {
    while (true) {
      const double turn = (draw_.Uniform() - 0.5) * kPi / shape_.continuity;
      const double density = std::cos(shape_.continuity * turn);
      if (draw_.Uniform() < density * density) return turn;
    }
  }

  // Inside the frame, and far enough from all others and from all but the last of its own contour?
  bool HasRoom(const Paddle& paddle, const Contour* own) const {
    const double far = static_cast<double>(shape_.size) - 1;
    for (const Point p : {paddle.tail, paddle.head}) {
      if (p.x < 1 || p.y < 1 || p.x > far || p.y > far) return false;
    }
    const double reach = clearance_ + 2 * shape_.paddle_length;  // of tails
    const auto meets = [&](const std::vector<Paddle>& paddles, size_t count) {
      return std::any_of(
          paddles.begin(), paddles.begin() + static_cast<int64_t>(count), [&](const Paddle& p) {
            const double dx = p.tail.x - paddle.tail.x, dy = p.tail.y - paddle.tail.y;
            return dx * dx + dy * dy < reach * reach && Distance(paddle, p) < clearance_;
          });
    };
    if (meets(kept_, kept_.size())) return false;
    if (other_ != nullptr && meets(other_->paddles, other_->paddles.size())) return false;
    return own == nullptr || !meets(own->paddles, own->paddles.size() - 1);
  }

  const PathfinderShape& shape_;
  RngStream& draw_;
  double margin_, clearance_;
  std::vector<Paddle> kept_;
  const Contour* other_ = nullptr;
};

// With `patience`, paddles that lead nowhere are taken back so many times.
std::optional<PathfinderImage> TryPathfinder(const PathfinderShape& shape, int patience,
                                             RngStream* draw) {
  Drawing drawing(shape, draw);
  // The first end lies in the middle, so that the second has room around it.
  const double side = static_cast<double>(shape.size),
               border = std::min(2 * shape.seed_distance, side / 2);
  const auto inside = [&] { return border + (side - 2 * border) * draw->Uniform(); };
  const Point tip = {inside(), inside()};
  std::optional<Contour> first = drawing.Begin(tip);
  if (!first.has_value()) return std::nullopt;
  drawing.SetOther(&*first);
  std::optional<Contour> second =
      drawing.Begin(Moved(tip, 2 * kPi * draw->Uniform(), shape.seed_distance));
  if (!second.has_value()) return std::nullopt;
  const auto extend = [&] {
    drawing.SetOther(&*second);
    if (!drawing.Extend(&*first)) return false;
    drawing.SetOther(&*first);
    return drawing.Extend(&*second);
  };
  for (int64_t length = 1; length < shape.contour_length;) {
    if (extend()) {
      ++length;
      continue;
    }
    if (--patience < 0) return std::nullopt;
    constexpr int64_t kMostBack = 6;
    length = std::max<int64_t>(1, length - draw->UniformInt(kMostBack + 1));
    first->Shorten(length);
    second->Shorten(length);
  }
  drawing.ForgetOther();
  drawing.Keep(*first);
  drawing.Keep(*second);
  constexpr int kTries = 32;
  for (int64_t i = 0; i < shape.distractors; ++i) {
    for (int t = 0; t < kTries && !drawing.AddDistractor(shape.distractor_length); ++t) {
    }
  }
  PathfinderImage image;
  image.connected = draw->UniformInt(2) == 1;
  const Contour &from = draw->UniformInt(2) == 0 ? *first : *second,
                &to = image.connected == (&from == &*first) ? *first : *second;
  image.pixels = drawing.Render(from.paddles.front().tail, to.paddles.back().head);
  return image;
}

}  // namespace

PathfinderShape BenchmarkShape(int64_t size, int64_t contour_length) {
  PathfinderShape shape;
  shape.size = size;
  shape.contour_length = contour_length;
  shape.distractor_length = std::max<int64_t>(1, contour_length / 3);
  int64_t distracting = 20;
  if (size >= 64) {
    distracting = 22;
    shape.paddle_length = 5;
    shape.paddle_thickness = 1;
    shape.marker_radius = 2.5;
    shape.seed_distance = 12;
    shape.continuity = 1.8;
    shape.contrast = 0.8;
  }
  if (size >= 128) {
    distracting = 35;
    shape.paddle_thickness = 1.5;
    shape.paddle_margins = {2, 3};
    shape.marker_radius = 3;
    shape.seed_distance = 20;
    shape.contrast = 0.9;
  }
  shape.distractors = distracting / shape.distractor_length;
  return shape;
}

absl::StatusOr<PathfinderImage> MakePathfinder(const PathfinderShape& shape, const Rng& rng) {
  // Contours that are long for their image seldom find room by luck alone.
  constexpr int kMostTries = 10000, kByLuck = 1000, kPatience = 200;
  RngStream draw(rng);
  for (int i = 0; i < kMostTries; ++i) {
    std::optional<PathfinderImage> image = TryPathfinder(shape, i < kByLuck ? 0 : kPatience, &draw);
    if (image.has_value()) return *std::move(image);
  }
  return absl::InvalidArgumentError(absl::StrCat(
      "contour_length: two contours of ", shape.contour_length, " paddles found no room in ",
      shape.size, " x ", shape.size, " pixels in ", kMostTries, " tries"));
}

}  // namespace longrange::long_range_arena
