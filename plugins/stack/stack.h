// Stack: the default backbone, pre-norm blocks of a mixer and a feed-forward layer with residual
// connections.

#ifndef LONGRANGE_PLUGINS_STACK_STACK_H_
#define LONGRANGE_PLUGINS_STACK_STACK_H_

#include <memory>

#include "plugins/backbone.h"
#include "plugins/stack/stack.pb.h"

namespace longrange {

absl::StatusOr<std::unique_ptr<Backbone>> CreateStack(const StackConfig& config,
                                                      const BuildArgs& args);

}  // namespace longrange

#endif  // LONGRANGE_PLUGINS_STACK_STACK_H_
