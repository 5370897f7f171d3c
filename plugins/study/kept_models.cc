#include "plugins/study/kept_models.h"

#include <utility>

#include "absl/strings/str_format.h"
#include "common/base/hash.h"
#include "common/base/status_macros.h"
#include "common/io/atomic_file.h"

namespace longrange {
namespace {

// The model of this hash in the folder; NotFound where there is none.
absl::StatusOr<Checkpoint> OpenKept(const std::string& folder, const std::string& hash) {
  if (!PathExists(folder)) return absl::NotFoundError(folder);
  LR_ASSIGN_OR_RETURN(Checkpoint kept, Checkpoint::Open(folder));
  if (kept.config().origin().hash() != hash) return absl::NotFoundError(folder);
  return kept;
}

// The checksum of what was written.
absl::StatusOr<std::string> Save(const std::string& folder, CheckpointConfig config,
                                 const TrainingOutcome& outcome, const Model& model) {
  *config.mutable_training() = ToProto(outcome);
  LR_RETURN_IF_ERROR(SaveCheckpoint(folder, std::move(config), model));
  LR_ASSIGN_OR_RETURN(const Checkpoint saved, Checkpoint::Open(folder));
  return saved.weights_checksum();
}

absl::Status Load(const Checkpoint& kept, const Model& model) {
  LR_ASSIGN_OR_RETURN(const TensorMap weights, kept.ReadWeights(model.parameters().Wanted()));
  return Annotate(model.parameters().Load(weights), kept.folder());
}

}  // namespace

CheckpointConfig KeptConfig(const StudyProtocol& protocol, const StudyContext& context,
                            int64_t base_seed, const std::string& identity) {
  CheckpointConfig config;
  config.mutable_tokenizer()->set_kind(std::string(context.tokenizer->kind()));
  for (const std::string& name : context.tokenizer->special_tokens())
    config.mutable_tokenizer()->add_special_token(name);
  config.set_trained_length(protocol.trained_length());
  CheckpointConfig::Origin* origin = config.mutable_origin();
  origin->set_study(protocol.name());
  origin->set_version(protocol.version());
  origin->set_base_seed(base_seed);
  if (context.corpus != nullptr) {
    origin->set_corpus(context.corpus->name());
    origin->set_corpus_checksum(context.corpus->checksum());
  }
  origin->set_hash(Hash(identity));
  return config;
}

CheckpointConfig::Training ToProto(const TrainingOutcome& outcome) {
  CheckpointConfig::Training training;
  training.set_steps(outcome.steps);
  training.set_tokens(outcome.tokens);
  training.set_flops(outcome.flops);
  training.set_final_loss(outcome.final_loss);
  for (const auto& [step, score] : outcome.checks) {
    CheckpointConfig::Training::Check* check = training.add_check();
    check->set_step(step);
    check->set_score(score);
  }
  for (const Row& row : outcome.course) training.add_course(row.ToJson());
  training.set_reached_score(outcome.reached_score);
  training.set_seconds(outcome.seconds);
  training.set_peak_bytes(outcome.peak_bytes);
  return training;
}

absl::StatusOr<TrainingOutcome> FromProto(const CheckpointConfig::Training& training) {
  TrainingOutcome outcome;
  outcome.steps = training.steps();
  outcome.tokens = training.tokens();
  outcome.flops = training.flops();
  outcome.final_loss = training.final_loss();
  for (const CheckpointConfig::Training::Check& check : training.check())
    outcome.checks.emplace_back(check.step(), check.score());
  outcome.reached_score = training.reached_score();
  outcome.seconds = training.seconds();
  outcome.peak_bytes = training.peak_bytes();
  for (const std::string& line : training.course()) {
    LR_ASSIGN_OR_RETURN(Row row, ParseRow(line, "training.course"));
    outcome.course.push_back(std::move(row));
  }
  return outcome;
}

absl::StatusOr<std::string> KeepModel(const std::string& folder, CheckpointConfig config,
                                      const TrainingOutcome& outcome, const Model& model) {
  const absl::StatusOr<Checkpoint> kept = OpenKept(folder, config.origin().hash());
  if (kept.ok()) return kept->weights_checksum();
  if (!absl::IsNotFound(kept.status()))
    absl::FPrintF(stderr, "warning: %s; written again\n", kept.status().message());
  return Save(folder, std::move(config), outcome, model);
}

absl::StatusOr<KeptTraining> TrainOrOpen(const StudyContext& context, const Model& model,
                                         const TrainingRun& run, const std::string& folder,
                                         const CheckpointConfig& config) {
  const absl::StatusOr<Checkpoint> kept = OpenKept(folder, config.origin().hash());
  absl::Status status = kept.status();
  TrainingOutcome outcome;
  if (status.ok()) {
    absl::StatusOr<TrainingOutcome> read = FromProto(kept->config().training());
    status = read.ok() ? Load(*kept, model) : read.status();
    if (read.ok()) outcome = *std::move(read);
  }
  if (status.ok()) return KeptTraining{std::move(outcome), kept->weights_checksum()};
  if (!absl::IsNotFound(status))
    absl::FPrintF(stderr, "warning: %s; trained again\n", status.message());
  KeptTraining trained;
  LR_ASSIGN_OR_RETURN(trained.outcome, Train(context, model, run));
  LR_ASSIGN_OR_RETURN(trained.weights_checksum, Save(folder, config, trained.outcome, model));
  return trained;
}

}  // namespace longrange
