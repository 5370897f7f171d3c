// Values that flow through every module: the facts of one call (Call), what its rows are (Rows),
// who listens to its side outputs (Sink), and what a stream remembers between calls (State). B
// batch, T rows of this call, S keys, D width.

#ifndef LONGRANGE_COMMON_NN_CALL_H_
#define LONGRANGE_COMMON_NN_CALL_H_

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>

#include "absl/strings/string_view.h"
#include "common/base/rng.h"
#include "common/tensor/tensor.h"

namespace longrange::nn {

// The algorithm that computes a layer. kDefault is the layer's first declared form, whatever the
// length.
enum class Form { kDefault, kParallel, kRecurrent, kChunked, kFft };

// "parallel", "FFT"
std::string Name(Form form);

// Fixed when a layer is created: it may change the parameters.
enum class Direction { kCausal, kBidirectional };

// What the rows of a [B, T, *] tensor are; an undefined tensor says "nothing special".
struct Rows {
  Tensor begin_b, end_b;  // int64: rows [begin, end) are real; right, left or no padding
  Tensor document_bt;     // int32: rows of different documents never meet
  // int32, of a causal layer: row t of the call sees rows < frontier[t] of the stream (of Forward:
  // of the call), else its own and those before. At most the rows that there are with this call.
  Tensor frontier_t;
  // int32, of a bidirectional layer: a row of role kGlobalRole sees all rows, and all rows see it;
  // others (0) see what the layer lets them. Padding has no role, whatever stands there.
  Tensor role_bt;
};

inline constexpr int32_t kGlobalRole = 1;

// Side outputs of one call, owned by the caller. No sink: nobody listens and nothing extra is
// computed.
class Sink {
 public:
  virtual ~Sink() = default;
  // A further loss that the caller adds with this weight.
  virtual void Loss(absl::string_view path, const Tensor& scalar, double weight) = 0;
  // What a call in training would have a buffer (ParameterStore::buffers) become. The trainer
  // carries it out after the step; whoever else listens may ignore it.
  virtual void Buffer(const Tensor& /*buffer*/, const Tensor& /*next*/) {}
  // Does somebody look at this value ("layers.1.mixer/attention")? A layer may have to take a
  // slower way to make it.
  virtual bool Wants(absl::string_view path) const = 0;
  // Looks at a wanted value, and returns it or its replacement; on the tape.
  virtual Tensor Tap(absl::string_view path, const Tensor& value) = 0;
};

// What the layers of one call share: tables, span plans. Keyed by what the value depends on.
class Memo {
 public:
  template <typename T>
  std::shared_ptr<const T> Get(const std::string& key,
                               const std::function<std::shared_ptr<const T>()>& make) {
    std::shared_ptr<const void>& slot = entries_[key];
    if (slot == nullptr) slot = make();
    return std::static_pointer_cast<const T>(slot);
  }

 private:
  std::map<std::string, std::shared_ptr<const void>> entries_;
};

// The facts of one call: nothing global, nothing mutable.
struct Call {
  Form form = Form::kDefault;
  bool training = false;
  int64_t horizon = 0;  // length for what depends on it (dynamic NTK); 0: rows seen + T
  Rng rng;              // keyed by purpose and step; layers derive their own by path
  Sink* sink = nullptr;
  Memo* memo = nullptr;
  std::string path;

  // The same call for the part `name`: path, and with it the part's random numbers, are its own.
  Call Child(absl::string_view name) const;
  bool Wants(absl::string_view tap) const;
  // `value`, or what the sink puts in its place.
  Tensor Tap(absl::string_view tap, const Tensor& value) const;
};

// What a batch of streams remembers: named tensors, batch first, and parts. Move-only; a copy is
// Clone().
class State {
 public:
  // kDerived: made from parameters and from the stream's own tensors, kept so that a stream makes
  // it once (the transition of a linear system, the keys of a memory). It is no part of the stream:
  // not visited, so not saved, and not counted; a layer makes it anew where it is missing. It is
  // gone after Detach() and DropDerived(), which whoever changes the parameters or the tensors
  // under a stream has to call; and of no use while gradients are recorded, which flow through what
  // is made anew.
  enum class Kind { kStream, kDerived };

  State() = default;
  State(State&&) = default;
  State& operator=(State&&) = default;

  bool Has(absl::string_view name) const;
  const Tensor& Get(absl::string_view name) const;
  void Set(absl::string_view name, Tensor value, Kind kind = Kind::kStream);
  // Adds rows [B, T, ..] behind those of `name` along dimension 1 (on the tape).
  void Append(absl::string_view name, const Tensor& rows);
  // Drops all but the last `count` rows of dimension 1.
  void KeepLast(absl::string_view name, int64_t count);

  State* Child(absl::string_view name);  // created where it is missing
  State Clone() const;                   // derived tensors are shared
  void Detach();
  void DropDerived();
  int64_t bytes() const;
  // All tensors of the stream in order of name, as "layers.3/k".
  void Visit(const std::function<void(const std::string& path, Tensor* value)>& fn);

 private:
  void DropRoom();  // and of the parts
  void VisitUnder(const std::string& prefix,
                  const std::function<void(const std::string&, Tensor*)>& fn);

  // Memory with room for further rows behind those that Append left: a stream that grows by a row
  // at a time copies no more than it adds. Of one stream, where nothing is recorded.
  struct Room {
    Tensor rows;    // as Append left them
    Tensor memory;  // [capacity, ..], beginning with `rows`; undefined: none yet
  };
  std::map<std::string, Room, std::less<>> room_;

  std::map<std::string, Tensor, std::less<>> values_, derived_;
  std::map<std::string, std::unique_ptr<State>, std::less<>> children_;
};

}  // namespace longrange::nn

#endif  // LONGRANGE_COMMON_NN_CALL_H_
