// The checks of mixers and backbones. Each holds one promise of plugins/mixer.h; liars/ has, for
// every one, a layer that breaks it.

#ifndef LONGRANGE_PLUGINS_CONFORMANCE_LAYER_CHECKS_H_
#define LONGRANGE_PLUGINS_CONFORMANCE_LAYER_CHECKS_H_

#include <vector>

#include "plugins/conformance/layer.h"

namespace longrange::conformance {

struct LayerCheck {
  const char* name;     // in the tests' names
  const char* promise;  // what a layer that passes has shown
  Verdict (*run)(const LayerSubject&);
};

const std::vector<LayerCheck>& LayerChecks();

}  // namespace longrange::conformance

#endif  // LONGRANGE_PLUGINS_CONFORMANCE_LAYER_CHECKS_H_
