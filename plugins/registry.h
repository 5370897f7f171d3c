// Plugins by the name of their config message.
//
// A plugin registers with one line at namespace scope, in a library with alwayslink:
//   LR_REGISTER_PLUGIN(Mixer, TransformerConfig, CreateTransformer);
// and is named in configs by that message:
//   mixer { [type.googleapis.com/longrange.TransformerConfig] { heads: 8 } }
// Its id is the message's name in snake case without "Config": "transformer",
// "rope_extension_yarn".

#ifndef LONGRANGE_PLUGINS_REGISTRY_H_
#define LONGRANGE_PLUGINS_REGISTRY_H_

#include <google/protobuf/any.pb.h>
#include <google/protobuf/message.h>

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/base/status_macros.h"
#include "common/nn/call.h"
#include "common/nn/parameters.h"

namespace longrange {

// What a plugin is built from, beside its config.
struct BuildArgs {
  nn::Scope scope;    // where its parameters go
  int64_t width = 0;  // of the rows it gets; for a position scheme the head's width
  int64_t heads = 0;  // for a position scheme or an attention rule the host's; 0: unknown
  // For a position scheme the width of the rows that its host gets; 0: unknown.
  int64_t host_width = 0;
  int64_t layer = 0, num_layers = 1;
  int64_t max_tokens = 0;  // the longest call planned; 0: unknown
  nn::Direction direction = nn::Direction::kCausal;
  // Where parameters go that all layers of a model share (Scope::SharedParam).
  nn::Scope shared = scope.Child("shared");
};

// "longrange.RopeExtensionYarnConfig" -> "rope_extension_yarn"; also of an Any's type URL.
std::string PluginId(absl::string_view message_name);

namespace registry_internal {

// Unpacks into the message type that the Any names. InvalidArgument also where a number of the
// config is not finite.
absl::StatusOr<std::unique_ptr<google::protobuf::Message>> Unpack(const google::protobuf::Any& any);
// "unknown mixer 'foo'; did you mean 'bar'? known: ..."
absl::Status UnknownPlugin(absl::string_view kind, absl::string_view id,
                           const std::vector<std::string>& known);

}  // namespace registry_internal

// The plugins of one kind: Mixer, PositionScheme, AttentionRule, Backbone (built with BuildArgs) or
// Task (TaskArgs).
template <typename Kind>
class Registry {
 public:
  using Args = typename Kind::Args;
  using Factory = std::function<absl::StatusOr<std::unique_ptr<Kind>>(
      const google::protobuf::Message& config, const Args& args)>;

  static Registry& Get() {
    static auto* registry = new Registry;
    return *registry;
  }

  bool Register(const google::protobuf::Descriptor* config, Factory factory) {
    const std::string id = PluginId(std::string(config->full_name()));
    const bool added = factories_.emplace(id, std::move(factory)).second;
    CHECK(added) << Kind::kKindName << " '" << id << "' is registered twice";
    return true;
  }

  std::vector<std::string> Ids() const {
    std::vector<std::string> ids;
    for (const auto& [id, factory] : factories_) ids.push_back(id);
    return ids;
  }

  // Builds the plugin that the Any's type names. InvalidArgument: unknown type, or a config that
  // the plugin refuses.
  absl::StatusOr<std::unique_ptr<Kind>> Create(const google::protobuf::Any& any,
                                               const Args& args) const {
    const std::string id = PluginId(any.type_url());
    const auto it = factories_.find(id);
    if (it == factories_.end()) return registry_internal::UnknownPlugin(Kind::kKindName, id, Ids());
    LR_ASSIGN_OR_RETURN(const std::unique_ptr<google::protobuf::Message> config,
                        registry_internal::Unpack(any));
    return it->second(*config, args);
  }

 private:
  std::map<std::string, Factory> factories_;
};

#define LR_REGISTER_PLUGIN(Kind, Config, create)                                               \
  static const bool lr_registered_##Config =                                                   \
      ::longrange::Registry<::longrange::Kind>::Get().Register(                                \
          Config::descriptor(),                                                                \
          [](const ::google::protobuf::Message& config, const ::longrange::Kind::Args& args) { \
            return create(static_cast<const Config&>(config), args);                           \
          })

}  // namespace longrange

#endif  // LONGRANGE_PLUGINS_REGISTRY_H_
