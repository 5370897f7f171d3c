#include "common/io/name_map.h"

#include <glog/logging.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <set>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/base/status_macros.h"
#include "common/io/glob.h"

namespace longrange {
namespace {

constexpr size_t kMaxNames = 10;  // in one error message

int64_t CountStars(absl::string_view name) { return std::count(name.begin(), name.end(), '*'); }

// Matches `*` with a run of digits each and gives these runs.
bool MatchNumbers(absl::string_view pattern, absl::string_view name,
                  std::vector<std::string>* numbers) {
  numbers->clear();
  size_t at = 0;
  for (const char c : pattern) {
    if (c == '*') {
      const size_t begin = at;
      while (at < name.size() && absl::ascii_isdigit(static_cast<unsigned char>(name[at]))) ++at;
      if (at == begin) return false;
      numbers->emplace_back(name.substr(begin, at - begin));
    } else if (at < name.size() && name[at] == c) {
      ++at;
    } else {
      return false;
    }
  }
  return at == name.size();
}

std::string FillIn(absl::string_view pattern, const std::vector<std::string>& numbers) {
  std::string name;
  size_t next = 0;
  for (const char c : pattern) {
    if (c == '*') {
      name += numbers[next++];
    } else {
      name += c;
    }
  }
  return name;
}

std::string ListOf(const std::vector<std::string>& names) {
  const size_t shown = std::min(names.size(), kMaxNames);
  std::string list =
      absl::StrJoin(names.begin(), names.begin() + static_cast<std::ptrdiff_t>(shown), ", ");
  if (names.size() > shown) absl::StrAppend(&list, ", ... (", names.size(), " in all)");
  return list;
}

bool MatchesAny(const std::vector<std::string>& patterns, absl::string_view name) {
  return std::any_of(patterns.begin(), patterns.end(),
                     [&](const std::string& p) { return GlobMatch(p, name); });
}

int64_t RowBytes(const Tensor& t) { return t.dim(0) == 0 ? 0 : t.bytes() / t.dim(0); }

// Joins `parts` along dimension 0 within each of `groups` blocks; Cut is the inverse.
absl::StatusOr<Tensor> Join(const std::vector<Tensor>& parts, int64_t groups) {
  int64_t rows = 0;
  for (const Tensor& part : parts) {
    if (part.rank() == 0 || part.rank() != parts[0].rank() || part.dtype() != parts[0].dtype() ||
        part.shape().dims().subspan(1) != parts[0].shape().dims().subspan(1) ||
        part.dim(0) % groups != 0) {
      return absl::InvalidArgumentError(absl::StrCat("cannot join ", part.shape().ToString(),
                                                     " to ", parts[0].shape().ToString(), " in ",
                                                     groups, " blocks of dimension 0"));
    }
    rows += part.dim(0);
  }
  if (parts.size() == 1) return parts[0];
  Shape shape = parts[0].shape();
  shape.set(0, rows);
  const Tensor joined = Tensor::Empty(shape, parts[0].dtype());
  char* out = static_cast<char*>(joined.mutable_raw_data());
  for (int64_t g = 0; g < groups; ++g) {
    for (const Tensor& part : parts) {
      const int64_t bytes = part.dim(0) / groups * RowBytes(part);
      if (bytes > 0)
        std::memcpy(out, static_cast<const char*>(part.raw_data()) + g * bytes,
                    static_cast<size_t>(bytes));
      out += bytes;
    }
  }
  return joined;
}

absl::StatusOr<std::vector<Tensor>> Cut(const Tensor& joined, const std::vector<int64_t>& rows,
                                        int64_t groups) {
  int64_t sum = 0;
  for (const int64_t r : rows) {
    if (r % groups != 0)
      return absl::InvalidArgumentError(
          absl::StrCat(r, " rows do not go into ", groups, " blocks"));
    sum += r;
  }
  if (joined.rank() == 0 || joined.dim(0) != sum) {
    return absl::InvalidArgumentError(absl::StrCat("got ", joined.shape().ToString(), ", expected ",
                                                   sum, " rows: ", absl::StrJoin(rows, " + ")));
  }
  if (rows.size() == 1) return std::vector<Tensor>{joined};
  std::vector<Tensor> parts;
  for (const int64_t r : rows) {
    Shape shape = joined.shape();
    shape.set(0, r);
    parts.push_back(Tensor::Empty(shape, joined.dtype()));
  }
  const char* in = static_cast<const char*>(joined.raw_data());
  for (int64_t g = 0; g < groups; ++g) {
    for (const Tensor& part : parts) {
      const int64_t bytes = part.dim(0) / groups * RowBytes(part);
      if (bytes > 0)
        std::memcpy(static_cast<char*>(part.mutable_raw_data()) + g * bytes, in,
                    static_cast<size_t>(bytes));
      in += bytes;
    }
  }
  return parts;
}

absl::StatusOr<Tensor> ApplyAll(const std::vector<Transform>& transforms, Tensor t, bool inverse) {
  for (size_t i = 0; i < transforms.size(); ++i) {
    LR_ASSIGN_OR_RETURN(t, transforms[inverse ? transforms.size() - 1 - i : i].Apply(t, inverse));
  }
  return t;
}

const std::vector<Transform>& After(const NameMapRow& row, size_t i) {
  static const auto* none = new std::vector<Transform>();
  return i < row.after.size() ? row.after[i] : *none;
}

}  // namespace

Transform Transform::Transpose(int dim_a, int dim_b) {
  CHECK(dim_a >= 0 && dim_b >= 0 && dim_a != dim_b) << dim_a << " and " << dim_b;
  Transform t(Kind::kTranspose);
  t.dim_a_ = std::min(dim_a, dim_b);
  t.dim_b_ = std::max(dim_a, dim_b);
  return t;
}

Transform Transform::Reshape(const Shape& theirs, const Shape& ours) {
  Transform t(Kind::kReshape);
  for (const Shape& shape : {theirs, ours}) {
    int64_t open = 0;
    for (const int64_t d : shape.dims()) {
      CHECK_GE(d, -1) << shape;
      open += d == -1;
    }
    CHECK_LE(open, 1) << "more than one -1 in " << shape;
  }
  t.theirs_ = theirs;
  t.ours_ = ours;
  return t;
}

Transform Transform::Squeeze(int dim) {
  CHECK_GE(dim, 0);
  Transform t(Kind::kSqueeze);
  t.dim_a_ = dim;
  return t;
}

Transform Transform::HalfToInterleaved(int64_t num_heads, int64_t rotary_dim) {
  CHECK(num_heads > 0 && rotary_dim >= 0 && rotary_dim % 2 == 0)
      << num_heads << " heads, rotary_dim " << rotary_dim;
  Transform t(Kind::kPermuteHeads);
  t.num_heads_ = num_heads;
  t.rotary_dim_ = rotary_dim;
  t.to_interleaved_ = true;
  return t;
}

Transform Transform::InterleavedToHalf(int64_t num_heads, int64_t rotary_dim) {
  Transform t = HalfToInterleaved(num_heads, rotary_dim);
  t.to_interleaved_ = false;
  return t;
}

absl::StatusOr<Shape> Transform::ShapeAfter(const Shape& shape, bool inverse) const {
  Shape out = shape;
  switch (kind_) {
    case Kind::kTranspose:
      if (dim_b_ >= shape.rank()) {
        return absl::InvalidArgumentError(
            absl::StrCat("no dimension ", dim_b_, " to transpose in ", shape.ToString()));
      }
      out.set(dim_a_, shape[dim_b_]);
      out.set(dim_b_, shape[dim_a_]);
      return out;
    case Kind::kReshape: {
      // Each side filled in by the number of elements: the one must be the shape there is, the
      // other is the result.
      const auto fill = [&](const Shape& pattern) {
        Shape full = pattern;
        int64_t known = 1;
        int open = -1;
        for (int i = 0; i < pattern.rank(); ++i) {
          if (pattern[i] == -1) {
            open = i;
          } else {
            known *= pattern[i];
          }
        }
        if (open >= 0) full.set(open, known == 0 ? 0 : shape.numel() / known);
        return full;
      };
      const Shape from = fill(inverse ? ours_ : theirs_), to = fill(inverse ? theirs_ : ours_);
      if (from != shape || to.numel() != shape.numel()) {
        return absl::InvalidArgumentError(absl::StrCat(
            "cannot reshape ", shape.ToString(), " as ", (inverse ? ours_ : theirs_).ToString(),
            " to ", (inverse ? theirs_ : ours_).ToString()));
      }
      return to;
    }
    case Kind::kSqueeze: {
      std::vector<int64_t> dims(shape.dims().begin(), shape.dims().end());
      if (inverse) {
        if (dim_a_ > shape.rank()) {
          return absl::InvalidArgumentError(
              absl::StrCat("no place for dimension ", dim_a_, " in ", shape.ToString()));
        }
        dims.insert(dims.begin() + dim_a_, 1);
      } else {
        if (dim_a_ >= shape.rank() || shape[dim_a_] != 1) {
          return absl::InvalidArgumentError(
              absl::StrCat("expected size 1 at dimension ", dim_a_, ", got ", shape.ToString()));
        }
        dims.erase(dims.begin() + dim_a_);
      }
      return Shape(dims);
    }
    case Kind::kPermuteHeads: {
      const int64_t head_dim =
          shape.rank() == 0 || shape[0] % num_heads_ != 0 ? -1 : shape[0] / num_heads_;
      if (head_dim < rotary_dim_ || (rotary_dim_ == 0 && head_dim % 2 != 0)) {
        return absl::InvalidArgumentError(absl::StrCat(
            "the rows of ", shape.ToString(), " are no ", num_heads_, " heads with a rotation of ",
            rotary_dim_, " channels (0: all, an even number)"));
      }
      return out;
    }
  }
  return absl::InternalError("unknown transform");
}

absl::StatusOr<Tensor> Transform::Apply(const Tensor& t, bool inverse) const {
  LR_ASSIGN_OR_RETURN(const Shape shape, ShapeAfter(t.shape(), inverse));
  if (kind_ == Kind::kReshape || kind_ == Kind::kSqueeze) return t.View(shape);
  const Tensor out = Tensor::Empty(shape, t.dtype());
  if (t.numel() == 0) return out;
  const char* from = static_cast<const char*>(t.raw_data());
  char* to = static_cast<char*>(out.mutable_raw_data());
  if (kind_ == Kind::kTranspose) {
    // [outer, A, middle, B, inner] -> [outer, B, middle, A, inner]
    int64_t outer = 1, middle = 1, inner = SizeOf(t.dtype());
    for (int i = 0; i < t.rank(); ++i) {
      if (i == dim_a_ || i == dim_b_) continue;
      (i < dim_a_ ? outer : i < dim_b_ ? middle : inner) *= t.dim(i);
    }
    const int64_t size_a = t.dim(dim_a_), size_b = t.dim(dim_b_);
    for (int64_t o = 0; o < outer; ++o) {
      for (int64_t a = 0; a < size_a; ++a) {
        for (int64_t m = 0; m < middle; ++m) {
          for (int64_t b = 0; b < size_b; ++b) {
            std::memcpy(to + (((o * size_b + b) * middle + m) * size_a + a) * inner,
                        from + (((o * size_a + a) * middle + m) * size_b + b) * inner,
                        static_cast<size_t>(inner));
          }
        }
      }
    }
    return out;
  }
  const int64_t row = RowBytes(t), head_dim = t.dim(0) / num_heads_;
  const int64_t rotary = rotary_dim_ == 0 ? head_dim : rotary_dim_;
  for (int64_t r = 0; r < t.dim(0); ++r) {
    const int64_t i = r % head_dim;  // the channel, in the half-split order
    const int64_t half = r;
    const int64_t interleaved = r - i +
                                (i >= rotary      ? i
                                 : i < rotary / 2 ? 2 * i
                                                  : 2 * (i - rotary / 2) + 1);
    const bool from_half = to_interleaved_ != inverse;
    std::memcpy(to + (from_half ? interleaved : half) * row,
                from + (from_half ? half : interleaved) * row, static_cast<size_t>(row));
  }
  return out;
}

NameMap& NameMap::Add(absl::string_view theirs, absl::string_view ours,
                      std::vector<Transform> transforms) {
  NameMapRow row;
  row.theirs = {std::string(theirs)};
  row.ours = {std::string(ours)};
  row.before = std::move(transforms);
  return Add(std::move(row));
}

NameMap& NameMap::Add(NameMapRow row) {
  CHECK(!row.theirs.empty() && !row.ours.empty()) << "a row needs names on both sides";
  CHECK_GT(row.groups, 0);
  CHECK_LE(row.after.size(), row.ours.size());
  CHECK(row.theirs_rows.empty() || row.theirs_rows.size() == row.theirs.size());
  for (const auto* names : {&row.theirs, &row.ours}) {
    for (const std::string& name : *names) {
      CHECK_EQ(CountStars(name), CountStars(row.theirs[0]))
          << name << " and " << row.theirs[0] << ": as many *";
      for (size_t i = 0; i + 1 < name.size(); ++i) {
        const auto numeric = [](char c) {
          return c == '*' || absl::ascii_isdigit(static_cast<unsigned char>(c));
        };
        CHECK(
            !((name[i] == '*' && numeric(name[i + 1])) || (name[i + 1] == '*' && numeric(name[i]))))
            << name << ": where the number ends is not clear";
      }
    }
  }
  rows_.push_back(std::move(row));
  return *this;
}

NameMap& NameMap::Tie(absl::string_view theirs, absl::string_view ours) {
  CHECK_EQ(CountStars(theirs), CountStars(ours)) << theirs << " and " << ours << ": as many *";
  tied_.push_back({std::string(theirs), std::string(ours)});
  return *this;
}

NameMap& NameMap::Ignore(absl::string_view theirs_pattern) {
  ignored_.emplace_back(theirs_pattern);
  return *this;
}

NameMap& NameMap::IgnoreOurs(absl::string_view ours_pattern) {
  ignored_ours_.emplace_back(ours_pattern);
  return *this;
}

// Rows filled in so that each of our names is in exactly one; `unmatched` gets those of which no
// row speaks, and the members of a fused row that are not among our_names.
absl::StatusOr<std::vector<NameMap::Bound>> NameMap::Bind(
    const std::vector<std::string>& our_names, std::vector<std::string>* unmatched) const {
  const std::set<std::string> present(our_names.begin(), our_names.end());
  if (present.size() != our_names.size())
    return absl::InvalidArgumentError("a name is wanted twice");
  std::vector<Bound> bound;
  std::map<std::string, const NameMapRow*> taken;
  for (const std::string& name : our_names) {
    if (MatchesAny(ignored_ours_, name)) continue;
    bool found = false;
    for (const NameMapRow& row : rows_) {
      for (const std::string& pattern : row.ours) {
        std::vector<std::string> numbers;
        if (!MatchNumbers(pattern, name, &numbers)) continue;
        if (found)
          return absl::InvalidArgumentError(
              absl::StrCat("the name map has several rows for \"", name, "\""));
        found = true;
        if (taken.count(name) > 0) continue;  // with another member of its row
        Bound b{&row, {}, {}};
        for (const std::string& p : row.theirs) b.theirs.push_back(FillIn(p, numbers));
        for (const std::string& p : row.ours) b.ours.push_back(FillIn(p, numbers));
        for (const std::string& member : b.ours) {
          taken[member] = &row;
          if (present.count(member) == 0) unmatched->push_back(member);
        }
        bound.push_back(std::move(b));
      }
    }
    if (!found) unmatched->push_back(name);
  }
  return bound;
}

absl::StatusOr<TensorMap> NameMap::Import(const TensorMap& theirs,
                                          const std::vector<WantedTensor>& wanted) const {
  std::map<std::string, const WantedTensor*> wanted_by_name;
  std::vector<std::string> names;
  for (const WantedTensor& w : wanted) {
    wanted_by_name[w.name] = &w;
    names.push_back(w.name);
  }
  std::vector<std::string> no_row;
  LR_ASSIGN_OR_RETURN(const std::vector<Bound> bound, Bind(names, &no_row));
  if (!no_row.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("the name map and the parameters disagree on: ", ListOf(no_row)));
  }

  std::set<std::string> used;
  std::vector<std::string> missing, unexpected;
  for (const Bound& b : bound) {
    for (const std::string& name : b.theirs) {
      if (!used.insert(name).second) {
        return absl::InvalidArgumentError(
            absl::StrCat("the name map uses \"", name, "\" of the file twice"));
      }
      if (theirs.count(name) == 0) missing.push_back(name);
    }
  }
  std::vector<std::pair<std::string, std::string>>
      copies;  // a tied tensor, and the one it must be equal to
  for (const auto& [name, tensor] : theirs) {
    if (used.count(name) > 0) continue;
    bool tied = false;
    for (const Tied& tie : tied_) {
      std::vector<std::string> numbers;
      if (!MatchNumbers(tie.theirs, name, &numbers)) continue;
      const std::string ours = FillIn(tie.ours, numbers);
      for (const Bound& b : bound) {
        if (b.ours.size() != 1 || b.theirs.size() != 1 || b.ours[0] != ours) continue;
        copies.emplace_back(name, b.theirs[0]);
        tied = true;
      }
    }
    if (!tied && !MatchesAny(ignored_, name)) unexpected.push_back(name);
  }
  if (!missing.empty() || !unexpected.empty()) {
    std::vector<std::string> parts;
    if (!missing.empty()) parts.push_back(absl::StrCat("missing in the file: ", ListOf(missing)));
    if (!unexpected.empty())
      parts.push_back(absl::StrCat("unexpected in the file: ", ListOf(unexpected)));
    return absl::InvalidArgumentError(absl::StrJoin(parts, "; "));
  }
  for (const auto& [copy, original] : copies) {
    const Tensor& a = theirs.at(copy);
    const Tensor& b = theirs.at(original);
    if (a.shape() != b.shape() || a.dtype() != b.dtype() ||
        (a.bytes() > 0 &&
         std::memcmp(a.raw_data(), b.raw_data(), static_cast<size_t>(a.bytes())) != 0)) {
      return absl::InvalidArgumentError(absl::StrCat(
          "\"", copy, "\" and \"", original, "\" of the file are tied here, but they differ"));
    }
  }

  TensorMap ours;
  for (const Bound& b : bound) {
    const std::string where =
        absl::StrCat(absl::StrJoin(b.theirs, " + "), " as ", absl::StrJoin(b.ours, " + "));
    std::vector<Tensor> parts;
    for (const std::string& name : b.theirs) {
      absl::StatusOr<Tensor> t = ApplyAll(b.row->before, theirs.at(name), /*inverse=*/false);
      if (!t.ok()) return Annotate(t.status(), where);
      parts.push_back(*std::move(t));
    }
    // What Export would write must be what was read.
    if (parts.size() > 1) {
      for (size_t i = 0; i < parts.size(); ++i) {
        const int64_t expected = b.row->theirs_rows.empty()
                                     ? (parts[0].rank() == 0 ? 1 : parts[0].dim(0))
                                     : b.row->theirs_rows[i];
        if (parts[i].rank() == 0 || parts[i].dim(0) != expected) {
          return absl::InvalidArgumentError(absl::StrCat(where, ": ", b.theirs[i], ": got ",
                                                         parts[i].shape().ToString(), ", expected ",
                                                         expected, " rows"));
        }
      }
    }
    std::vector<Tensor> cut;
    if (parts.size() == 1 && b.ours.size() == 1) {
      cut = parts;
    } else {
      absl::StatusOr<Tensor> joined = Join(parts, b.row->groups);
      if (!joined.ok()) return Annotate(joined.status(), where);
      std::vector<int64_t> rows;
      for (size_t i = 0; i < b.ours.size(); ++i) {
        Shape shape = wanted_by_name.at(b.ours[i])->shape;
        const std::vector<Transform>& after = After(*b.row, i);
        for (size_t k = after.size(); k-- > 0;) {
          absl::StatusOr<Shape> before = after[k].ShapeAfter(shape, /*inverse=*/true);
          if (!before.ok()) return Annotate(before.status(), where);
          shape = *before;
        }
        if (shape.rank() == 0)
          return absl::InvalidArgumentError(absl::StrCat(where, ": ", b.ours[i], " has no rows"));
        rows.push_back(shape[0]);
      }
      absl::StatusOr<std::vector<Tensor>> result = Cut(*joined, rows, b.row->groups);
      if (!result.ok()) return Annotate(result.status(), where);
      cut = *std::move(result);
    }
    for (size_t i = 0; i < b.ours.size(); ++i) {
      absl::StatusOr<Tensor> t = ApplyAll(After(*b.row, i), cut[i], /*inverse=*/false);
      if (!t.ok()) return Annotate(t.status(), where);
      const WantedTensor& w = *wanted_by_name.at(b.ours[i]);
      if (t->shape() != w.shape) {
        return absl::InvalidArgumentError(absl::StrCat(where, ": ", w.name, ": got shape ",
                                                       t->shape().ToString(), ", expected ",
                                                       w.shape.ToString()));
      }
      if (t->dtype() != w.dtype && !(IsFloating(t->dtype()) && IsFloating(w.dtype))) {
        return absl::InvalidArgumentError(absl::StrCat(where, ": ", w.name, ": got ",
                                                       std::string(Name(t->dtype())), ", expected ",
                                                       std::string(Name(w.dtype))));
      }
      ours[w.name] = t->dtype() == w.dtype ? *t : t->To(w.dtype);
    }
  }
  return ours;
}

absl::StatusOr<TensorMap> NameMap::Export(const TensorMap& ours) const {
  std::vector<std::string> names;
  for (const auto& [name, tensor] : ours) names.push_back(name);
  std::vector<std::string> no_row;
  LR_ASSIGN_OR_RETURN(const std::vector<Bound> bound, Bind(names, &no_row));
  if (!no_row.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("the name map and the parameters disagree on: ", ListOf(no_row)));
  }
  TensorMap theirs;
  for (const Bound& b : bound) {
    const std::string where =
        absl::StrCat(absl::StrJoin(b.ours, " + "), " as ", absl::StrJoin(b.theirs, " + "));
    std::vector<Tensor> parts;
    for (size_t i = 0; i < b.ours.size(); ++i) {
      absl::StatusOr<Tensor> t = ApplyAll(After(*b.row, i), ours.at(b.ours[i]), /*inverse=*/true);
      if (!t.ok()) return Annotate(t.status(), where);
      parts.push_back(*std::move(t));
    }
    std::vector<Tensor> cut;
    if (parts.size() == 1 && b.theirs.size() == 1) {
      cut = parts;
    } else {
      absl::StatusOr<Tensor> joined = Join(parts, b.row->groups);
      if (!joined.ok()) return Annotate(joined.status(), where);
      std::vector<int64_t> rows = b.row->theirs_rows;
      if (rows.empty()) {
        const auto n = static_cast<int64_t>(b.theirs.size());
        if (joined->dim(0) % n != 0) {
          return absl::InvalidArgumentError(absl::StrCat(where, ": ", joined->shape().ToString(),
                                                         " does not go into ", n, " equal parts"));
        }
        rows.assign(b.theirs.size(), joined->dim(0) / n);
      }
      absl::StatusOr<std::vector<Tensor>> result = Cut(*joined, rows, b.row->groups);
      if (!result.ok()) return Annotate(result.status(), where);
      cut = *std::move(result);
    }
    for (size_t i = 0; i < b.theirs.size(); ++i) {
      absl::StatusOr<Tensor> t = ApplyAll(b.row->before, cut[i], /*inverse=*/true);
      if (!t.ok()) return Annotate(t.status(), where);
      if (!theirs.emplace(b.theirs[i], *std::move(t)).second) {
        return absl::InvalidArgumentError(
            absl::StrCat("the name map writes \"", b.theirs[i], "\" twice"));
      }
    }
  }
  return theirs;
}

}  // namespace longrange
