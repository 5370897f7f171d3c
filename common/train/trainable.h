// Trainable: what the trainer knows of a model.

#ifndef LONGRANGE_COMMON_TRAIN_TRAINABLE_H_
#define LONGRANGE_COMMON_TRAIN_TRAINABLE_H_

#include <glog/logging.h>

#include "common/data/batches.h"
#include "common/nn/call.h"
#include "common/nn/module.h"
#include "common/nn/parameters.h"

namespace longrange::train {

class Trainable : public nn::Module {
 public:
  virtual const nn::ParameterStore& parameters() const = 0;
  // The loss of one batch, a scalar on the tape. A pure function of parameters, buffers, batch and
  // call; what it would have a buffer become it tells call.sink.
  virtual Tensor Loss(const Batch& batch, const nn::Call& call) const = 0;

  // Of a model whose sequences go on from step to step: the same of a batch whose rows follow those
  // that `state` has seen, which it then has seen too; the state is left on the tape.
  virtual Tensor StreamLoss(const Batch& /*batch*/, const nn::Call& /*call*/,
                            nn::State* /*state*/) const {
    LOG(FATAL) << "this model carries no state";
  }
};

}  // namespace longrange::train

#endif  // LONGRANGE_COMMON_TRAIN_TRAINABLE_H_
