#include "common/nn/call.h"

#include <cstring>

#include "absl/strings/str_cat.h"
#include "common/autograd/ops.h"
#include "common/tensor/cost.h"
#include "glog/logging.h"

namespace longrange::nn {

std::string Name(Form form) {
  switch (form) {
    case Form::kDefault:
      return "default";
    case Form::kParallel:
      return "parallel";
    case Form::kRecurrent:
      return "recurrent";
    case Form::kChunked:
      return "chunked";
    case Form::kFft:
      return "FFT";
  }
  LOG(FATAL) << "no such form";
}

Call Call::Child(absl::string_view name) const {
  Call child = *this;
  child.path = path.empty() ? std::string(name) : absl::StrCat(path, ".", name);
  return child;
}

bool Call::Wants(absl::string_view tap) const {
  return sink != nullptr && sink->Wants(absl::StrCat(path, "/", tap));
}

Tensor Call::Tap(absl::string_view tap, const Tensor& value) const {
  const std::string full = absl::StrCat(path, "/", tap);
  return sink != nullptr && sink->Wants(full) ? sink->Tap(full, value) : value;
}

bool State::Has(absl::string_view name) const {
  return values_.count(std::string(name)) > 0 || derived_.count(std::string(name)) > 0;
}

const Tensor& State::Get(absl::string_view name) const {
  const auto it = values_.find(std::string(name));
  if (it != values_.end()) return it->second;
  const auto derived = derived_.find(std::string(name));
  CHECK(derived != derived_.end()) << "no state named " << name;
  return derived->second;
}

void State::Set(absl::string_view name, Tensor value, Kind kind) {
  auto& other = kind == Kind::kStream ? derived_ : values_;
  CHECK(other.count(std::string(name)) == 0) << name << " is state of another kind";
  if (const auto room = room_.find(name); room != room_.end() && !room->second.rows.Is(value))
    room_.erase(room);  // it would keep rows that nobody asks for
  (kind == Kind::kStream ? values_ : derived_)[std::string(name)] = std::move(value);
}

void State::Append(absl::string_view name, const Tensor& rows) {
  if (!Has(name) || Get(name).dim(1) == 0) return Set(name, rows);
  const Tensor before = Get(name);
  Shape like = before.shape();
  like.set(1, rows.dim(1));
  CHECK(rows.shape() == like && rows.dtype() == before.dtype())
      << name << ": rows " << rows.shape() << " of " << Name(rows.dtype()) << " behind "
      << before.shape() << " of " << Name(before.dtype());
  Room& room = room_[std::string(name)];
  // Rows that somebody cuts or replaces between two calls are not worth room.
  const bool grows = room.rows.defined() && room.rows.Is(before);
  if (!grows || before.dim(0) != 1 || WillRecord({before, rows})) {
    room = {Concat({before, rows}, 1), Tensor()};
    return Set(name, room.rows);
  }
  const int64_t total = before.dim(1) + rows.dim(1);
  const auto copy = [&](const Tensor& from, int64_t first) {
    RecordCost(0, 2.0 * static_cast<double>(from.bytes()));
    if (from.bytes() == 0 || from.is_meta()) return;
    std::memcpy(room.memory.ViewRows(first, first + from.dim(1)).mutable_raw_data(),
                from.raw_data(), from.bytes());
  };
  if (!room.memory.defined() || room.memory.dim(0) < total) {
    Shape shape(before.shape().dims().subspan(1));
    shape.set(0, total + total / 2);
    room.memory = Tensor::Empty(shape, before.dtype(), before.device());
    copy(before, 0);
  }
  copy(rows, before.dim(1));
  Shape shape = before.shape();
  shape.set(1, total);
  room.rows = room.memory.ViewRows(0, total).View(shape);
  Set(name, room.rows);
}

void State::KeepLast(absl::string_view name, int64_t count) {
  const int64_t length = Get(name).dim(1);
  if (length > count) Set(name, Narrow(Get(name), 1, length - count, count));
}

State* State::Child(absl::string_view name) {
  std::unique_ptr<State>& child = children_[std::string(name)];
  if (child == nullptr) child = std::make_unique<State>();
  return child.get();
}

State State::Clone() const {
  State copy;
  for (const auto& [name, value] : values_) copy.values_[name] = value.Clone();
  copy.derived_ = derived_;
  for (const auto& [name, child] : children_)
    copy.children_[name] = std::make_unique<State>(child->Clone());
  return copy;
}

void State::Detach() {
  Visit([](const std::string&, Tensor* value) { *value = value->Detach(); });
  DropRoom();
  DropDerived();
}

void State::DropRoom() {
  room_.clear();
  for (const auto& [name, child] : children_) child->DropRoom();
}

void State::DropDerived() {
  derived_.clear();
  for (auto& [name, child] : children_) child->DropDerived();
}

int64_t State::bytes() const {
  int64_t sum = 0;
  for (const auto& [name, value] : values_) sum += value.bytes();
  for (const auto& [name, child] : children_) sum += child->bytes();
  return sum;
}

void State::Visit(const std::function<void(const std::string&, Tensor*)>& fn) {
  VisitUnder("", fn);
}

void State::VisitUnder(const std::string& prefix,
                       const std::function<void(const std::string&, Tensor*)>& fn) {
  for (auto& [name, value] : values_) fn(prefix + name, &value);
  for (auto& [name, child] : children_) child->VisitUnder(absl::StrCat(prefix, name, "/"), fn);
}

}  // namespace longrange::nn
