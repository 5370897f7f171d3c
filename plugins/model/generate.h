// Greedy and sampled generation through the streaming state.

#ifndef LONGRANGE_PLUGINS_MODEL_GENERATE_H_
#define LONGRANGE_PLUGINS_MODEL_GENERATE_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "common/base/rng.h"
#include "plugins/model/model.h"

namespace longrange {

struct GenerateOptions {
  int64_t max_new_tokens = 0;
  double temperature = 0;   // 0: greedy
  int64_t top_k = 0;        // sample among the k most likely tokens; 0: all
  int32_t stop_token = -1;  // ends the text (it is kept); -1: none

  // What a length-dependent position scheme takes for the length.
  enum Horizon {
    kFixed,    // prompt + max_new_tokens, for the whole generation: one function from first to last
               // token
    kGrowing,  // tokens seen so far
    kRecompute,  // tokens seen so far, everything recomputed at every step: what no cache can give;
                 // slow
  } horizon = kFixed;
  Rng rng;  // of the samples
};

// Returns the prompt and what follows it. InvalidArgument: an empty prompt, ids outside the
// vocabulary, a model that does not stream (unless kRecompute) or a length that it does not take.
absl::StatusOr<std::vector<int32_t>> Generate(const Model& model,
                                              const std::vector<int32_t>& prompt,
                                              const GenerateOptions& options);

}  // namespace longrange

#endif  // LONGRANGE_PLUGINS_MODEL_GENERATE_H_
