#include "plugins/conformance/reference.h"

#include <map>
#include <utility>

namespace longrange::conformance {
namespace {

template <typename Reference>
std::map<std::string, Reference>& References() {
  static auto* references = new std::map<std::string, Reference>;
  return *references;
}

template <typename Reference>
bool Register(const google::protobuf::Descriptor* config, Reference reference) {
  const std::string id = PluginId(std::string(config->full_name()));
  CHECK(References<Reference>().emplace(id, std::move(reference)).second)
      << "'" << id << "' has two references";
  return true;
}

template <typename Reference>
const Reference* Find(const std::string& id) {
  const auto it = References<Reference>().find(id);
  return it == References<Reference>().end() ? nullptr : &it->second;
}

}  // namespace

bool RegisterMixerReference(const google::protobuf::Descriptor* config, MixerReference reference) {
  return Register(config, std::move(reference));
}

bool RegisterRuleReference(const google::protobuf::Descriptor* config, RuleReference reference) {
  return Register(config, std::move(reference));
}

const MixerReference* FindMixerReference(const std::string& id) { return Find<MixerReference>(id); }
const RuleReference* FindRuleReference(const std::string& id) { return Find<RuleReference>(id); }

}  // namespace longrange::conformance
