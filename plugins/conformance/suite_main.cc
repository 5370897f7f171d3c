// The conformance suite as a test program: --folder=papers/NAME holds every plugin that the folder
// registers against the checks of its kind, on the instances of the folder's conformance.textproto.

#include <gtest/gtest.h>

#include <functional>
#include <iostream>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "common/base/hash.h"
#include "common/base/paths.h"
#include "common/base/text_proto.h"
#include "plugins/conformance/config_checks.h"
#include "plugins/conformance/host.h"
#include "plugins/conformance/layer_checks.h"
#include "plugins/conformance/position_checks.h"
#include "plugins/conformance/probe_checks.h"
#include "plugins/conformance/reference.h"
#include "plugins/conformance/task_checks.h"
#include "plugins/stack/stack.pb.h"

namespace longrange::conformance {
namespace {

using google::protobuf::Any;

// One check on one instance as a googletest test.
class CheckTest : public testing::Test {
 public:
  explicit CheckTest(std::function<Verdict()> check) : check_(std::move(check)) {}
  void TestBody() override {
    const Verdict verdict = check_();
    if (verdict.failed()) ADD_FAILURE() << verdict.why;
    if (verdict.kind == Verdict::kDoesNotApply)
      std::cout << "does not apply: " << verdict.why << "\n";
  }

 private:
  std::function<Verdict()> check_;
};

void Register(const std::string& suite, const std::string& name, std::function<Verdict()> check) {
  testing::RegisterTest(
      suite.c_str(), name.c_str(), nullptr, nullptr, __FILE__, __LINE__,
      [check = std::move(check)]() -> CheckTest* { return new CheckTest(check); });
}

template <typename Check, typename Subject>
void RegisterAll(const std::string& suite, const std::vector<Check>& checks,
                 const Subject& subject) {
  for (const Check& check : checks)
    Register(suite, check.name, [run = check.run, subject] { return run(subject); });
}

nn::Direction DirectionOf(const ConformanceInstance& instance) {
  return instance.direction() == ConformanceInstance::CAUSAL ? nn::Direction::kCausal
                                                             : nn::Direction::kBidirectional;
}

template <typename Kind>
void Keep(BuiltLayer* layer, std::unique_ptr<Kind> made);
template <>
void Keep(BuiltLayer* layer, std::unique_ptr<Mixer> made) {
  layer->mixer = std::move(made);
}
template <>
void Keep(BuiltLayer* layer, std::unique_ptr<Backbone> made) {
  layer->backbone = std::move(made);
}

template <typename Kind>
absl::StatusOr<BuiltLayer> MakeLayer(const ConformanceInstance& instance, const Any& config,
                                     DType dtype, Device device) {
  BuiltLayer layer;
  BuildArgs args{nn::Scope(layer.store.get(), Rng(1), dtype, device)};
  args.width = instance.width();
  args.max_tokens = instance.max_tokens();
  args.direction = DirectionOf(instance);
  LR_ASSIGN_OR_RETURN(std::unique_ptr<Kind> made, Registry<Kind>::Get().Create(config, args));
  Keep(&layer, std::move(made));
  return layer;
}

template <typename Kind>
LayerSubject SubjectOf(const ConformanceInstance& instance, const Any& config) {
  LayerSubject subject;
  subject.width = instance.width();
  subject.jostle = instance.jostle();
  subject.parameters = instance.parameters();
  subject.state_bytes = instance.state_bytes();
  subject.groups = {instance.group().begin(), instance.group().end()};
  subject.make = [instance, config](DType dtype, Device device) {
    return MakeLayer<Kind>(instance, config, dtype, device);
  };
  for (const Any& other : instance.same_parameters()) {
    subject.same_parameters.push_back([instance, other] {
      return MakeLayer<Kind>(instance, other, DType::kFloat32, Device::kCpu);
    });
  }
  subject.needs_reference = std::is_same_v<Kind, Mixer>;
  if (const MixerReference* reference = FindMixerReference(PluginId(config.type_url()))) {
    auto message = registry_internal::Unpack(config);
    CHECK(message.ok()) << message.status();
    subject.reference = [reference = *reference, instance,
                         message = std::shared_ptr<google::protobuf::Message>(*std::move(message))](
                            const TensorMap& parameters, const Tensor& x_btd) {
      nn::ParameterStore none;
      BuildArgs args{nn::Scope(&none, Rng(1), DType::kFloat64)};
      args.width = instance.width();
      args.max_tokens = instance.max_tokens();
      args.direction = DirectionOf(instance);
      return reference(*message, args, parameters, x_btd);
    };
  }
  return subject;
}

// What a layer computes, as a checksum.
template <typename Kind>
Behaviour LayerBehaviour(const ConformanceInstance& instance) {
  return [instance](const Any& config) -> absl::StatusOr<std::string> {
    const LayerSubject subject = SubjectOf<Kind>(instance, config);
    LR_ASSIGN_OR_RETURN(const BuiltLayer layer, subject.Build());
    const int64_t rows = Fit(layer.traits(), 9);
    const Tensor y = layer.Forward(subject.Input(2, rows), nn::Rows(), CallFor(rows));
    return Hash({static_cast<const char*>(y.raw_data()), static_cast<size_t>(y.bytes())});
  };
}

void RegisterConfigChecks(const std::string& suite, const ConformanceInstance& instance,
                          const Any& config, const Behaviour& behaviour, const Create& create) {
  Register(suite, "ConfigRoundTrips", [=] { return ConfigRoundTrips(config, behaviour); });
  Register(suite, "RefusesBadValues", [=] { return RefusesBadValues(instance, config, create); });
}

template <typename Kind>
void RegisterLayer(const std::string& suite, const ConformanceInstance& instance,
                   const Any& config) {
  RegisterConfigChecks(
      suite, instance, config, LayerBehaviour<Kind>(instance), [instance](const Any& any) {
        return MakeLayer<Kind>(instance, any, DType::kFloat32, Device::kMeta).status();
      });
  RegisterAll(suite, LayerChecks(), SubjectOf<Kind>(instance, config));
}

// A scheme or a rule inside the attention that it is made for.
ConformanceHostConfig HostOfScheme(const Any& position, int64_t head_width) {
  ConformanceHostConfig host;
  *host.mutable_position() = position;
  host.set_head_width(head_width);
  return host;
}

ConformanceHostConfig HostOfRule(const Any& rule) {
  ConformanceHostConfig host;
  *host.mutable_rule() = rule;
  host.set_heads(kRuleHeads);
  host.set_kv_heads(2);
  host.set_rotary(true);
  return host;
}

Any Packed(const ConformanceHostConfig& host) {
  Any any;
  any.PackFrom(host);
  return any;
}

// A scheme that the rows get at their entry inside the stack that it is made for.
Any InStack(const Any& position) {
  StackConfig stack;
  stack.set_layers(1);
  *stack.mutable_position() = position;
  stack.mutable_mixer()->PackFrom(ConformanceHostConfig());
  Any any;
  any.PackFrom(stack);
  return any;
}

// A scheme or a rule as its host shows it: its config, and the checks of layers on the host, whose
// own size is not the folder's to declare.
template <typename Kind>
void RegisterHosted(const std::string& suite, const std::string& where,
                    const ConformanceInstance& instance, const Any& config,
                    const std::function<Any(const Any&)>& in_host,
                    decltype(LayerSubject::reference) reference = nullptr) {
  ConformanceInstance outer = instance;
  outer.set_width(kHostWidth);
  outer.clear_same_parameters();
  RegisterConfigChecks(
      suite, instance, config,
      [=](const Any& any) { return LayerBehaviour<Kind>(outer)(in_host(any)); },
      [=](const Any& any) {
        return MakeLayer<Kind>(outer, in_host(any), DType::kFloat32, Device::kMeta).status();
      });
  LayerSubject subject = SubjectOf<Kind>(outer, in_host(config));
  subject.needs_reference = false;
  subject.reference = std::move(reference);
  subject.parameters = subject.state_bytes = -1;
  RegisterAll(suite + where, LayerChecks(), subject);
}

void RegisterScheme(const std::string& suite, const ConformanceInstance& instance) {
  const Any config = instance.position();
  const int64_t width = instance.width();
  SchemeSubject subject;
  subject.width = width;
  subject.make = [config](const BuildArgs& args) {
    return Registry<PositionScheme>::Get().Create(config, args);
  };
  const auto make = [subject, width](nn::ParameterStore* store) {
    BuildArgs args{nn::Scope(store, Rng(1))};
    args.width = width;
    args.heads = ConformanceHostConfig().heads();
    args.host_width = kHostWidth;
    return subject.make(args);
  };
  RegisterAll(suite, SchemeChecks(), subject);
  Register(suite, "ParametersAsDeclared", [=]() -> Verdict {
    nn::ParameterStore store;
    LR_CHECK_ASSIGN(const auto scheme, make(&store));
    if (store.NumElements() == instance.parameters()) return Passed();
    return Failed("has ", store.NumElements(), " parameters; parameters: ", instance.parameters(),
                  " is declared");
  });
  nn::ParameterStore store;
  const auto scheme = make(&store);
  if (scheme.ok() && (*scheme)->uses() == kAtInput) {
    RegisterHosted<Backbone>(suite, "InStack", instance, config, InStack);
  } else {
    RegisterHosted<Mixer>(suite, "InAttention", instance, config,
                          [width](const Any& any) { return Packed(HostOfScheme(any, width)); });
  }
}

void RegisterRule(const std::string& suite, const ConformanceInstance& instance) {
  const Any config = instance.rule();
  const auto in_host = [](const Any& any) { return Packed(HostOfRule(any)); };
  RuleSubject subject;
  subject.make = [config](const BuildArgs& args) {
    return Registry<AttentionRule>::Get().Create(config, args);
  };
  if (const RuleReference* reference = FindRuleReference(PluginId(config.type_url()))) {
    auto message = registry_internal::Unpack(config);
    CHECK(message.ok()) << message.status();
    subject.reference = [reference = *reference,
                         message = std::shared_ptr<google::protobuf::Message>(*std::move(message))](
                            int64_t head, int64_t query, int64_t key, int64_t keys) {
      return reference(*message, head, query, key, keys);
    };
  }
  RegisterAll(suite, RuleChecks(), subject);
  decltype(LayerSubject::reference) host_reference;
  if (subject.reference != nullptr && DirectionOf(instance) == nn::Direction::kCausal) {
    host_reference = [host = HostOfRule(config), distance = subject.reference](
                         const TensorMap& parameters, const Tensor& x_btd) {
      return ReferenceHost(host, distance, parameters, x_btd);
    };
  }
  RegisterHosted<Mixer>(suite, "InAttention", instance, config, in_host, host_reference);
}

void RegisterTask(const std::string& suite, const ConformanceInstance& instance) {
  const Any config = instance.task();
  const auto make = [](const Any& any) {
    TaskSubject subject;
    subject.make = [any](const TaskArgs& args) { return Registry<Task>::Get().Create(any, args); };
    return subject;
  };
  RegisterConfigChecks(
      suite, instance, config, [=](const Any& any) { return TaskBehaviour(make(any)); },
      [](const Any& any) { return Registry<Task>::Get().Create(any, TaskArgs()).status(); });
  RegisterAll(suite, TaskChecks(), make(config));
}

void RegisterProbe(const std::string& suite, const ConformanceInstance& instance) {
  const Any config = instance.probe();
  const auto make = [](const Any& any) {
    ProbeSubject subject;
    subject.make = [any] { return Registry<Probe>::Get().Create(any, Probe::Args()); };
    return subject;
  };
  RegisterConfigChecks(
      suite, instance, config, [=](const Any& any) { return ProbeBehaviour(make(any)); },
      [](const Any& any) { return Registry<Probe>::Get().Create(any, Probe::Args()).status(); });
  RegisterAll(suite, ProbeChecks(), make(config));
}

// The ids of all kinds, without what every test program brings (unless the folder is its own).
std::vector<std::string> RegisteredIds(const std::string& folder) {
  std::vector<std::string> ids;
  for (const std::vector<std::string>& part :
       {Registry<Mixer>::Get().Ids(), Registry<Backbone>::Get().Ids(),
        Registry<PositionScheme>::Get().Ids(), Registry<AttentionRule>::Get().Ids(),
        Registry<Task>::Get().Ids(), Registry<Probe>::Get().Ids()}) {
    for (const std::string& id : part) {
      if (id == folder || (id != "stack" && !absl::StartsWith(id, "conformance_"))) {
        ids.push_back(id);
      }
    }
  }
  return ids;
}

const Any& PluginOf(const ConformanceInstance& instance) {
  switch (instance.plugin_case()) {
    case ConformanceInstance::kMixer:
      return instance.mixer();
    case ConformanceInstance::kBackbone:
      return instance.backbone();
    case ConformanceInstance::kPosition:
      return instance.position();
    case ConformanceInstance::kRule:
      return instance.rule();
    case ConformanceInstance::kTask:
      return instance.task();
    case ConformanceInstance::kProbe:
      return instance.probe();
    case ConformanceInstance::PLUGIN_NOT_SET:
      return Any::default_instance();
  }
  LOG(FATAL) << "no such kind";
}

absl::Status RegisterFolder(const std::string& folder) {
  LR_ASSIGN_OR_RETURN(const std::string path,
                      RunfilePath(absl::StrCat(folder, "/conformance.textproto")));
  Conformance conformance;
  LR_RETURN_IF_ERROR(ParseTextProtoFile(path, &conformance));
  std::vector<std::string> instances;
  for (const ConformanceInstance& instance : conformance.instance()) {
    if (instance.name().empty() || instance.plugin_case() == ConformanceInstance::PLUGIN_NOT_SET) {
      return absl::InvalidArgumentError(absl::StrCat(
          path, ": an instance needs a name and a plugin: ", instance.ShortDebugString()));
    }
    instances.push_back(PluginId(PluginOf(instance).type_url()));
    switch (instance.plugin_case()) {
      case ConformanceInstance::kMixer:
        RegisterLayer<Mixer>(instance.name(), instance, instance.mixer());
        break;
      case ConformanceInstance::kBackbone:
        RegisterLayer<Backbone>(instance.name(), instance, instance.backbone());
        break;
      case ConformanceInstance::kPosition:
        RegisterScheme(instance.name(), instance);
        break;
      case ConformanceInstance::kRule:
        RegisterRule(instance.name(), instance);
        break;
      case ConformanceInstance::kTask:
        RegisterTask(instance.name(), instance);
        break;
      case ConformanceInstance::kProbe:
        RegisterProbe(instance.name(), instance);
        break;
      case ConformanceInstance::PLUGIN_NOT_SET:
        break;
    }
  }
  const std::vector<std::string> parts = absl::StrSplit(folder, '/');
  Register("Folder", "RegisteredUnderItsFolder", [name = parts.back(), instances] {
    return RegisteredUnderItsFolder(name, RegisteredIds(name), instances);
  });
  return absl::OkStatus();
}

}  // namespace
}  // namespace longrange::conformance

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  absl::string_view folder = argc == 2 ? argv[1] : "";
  if (!absl::ConsumePrefix(&folder, "--folder=") || folder.empty()) {
    std::cerr << "usage: conformance_test --folder=papers/NAME\n";
    return 2;
  }
  const absl::Status status = longrange::conformance::RegisterFolder(std::string(folder));
  if (!status.ok()) {
    std::cerr << status.message() << "\n";
    return 1;
  }
  return RUN_ALL_TESTS();
}
