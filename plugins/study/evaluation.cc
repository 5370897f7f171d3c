#include "plugins/study/evaluation.h"

#include <algorithm>
#include <numeric>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/base/status_macros.h"
#include "common/base/trace.h"
#include "common/data/batches.h"
#include "plugins/model/answer.h"

namespace longrange {
namespace {

double Mean(const double* begin, int64_t count) {
  return std::accumulate(begin, begin + count, 0.0) / static_cast<double>(count);
}

}  // namespace

absl::StatusOr<std::vector<Row>> EvaluatePerplexity(const StudyContext& context, const Model& model,
                                                    const StudyEvaluation& config, int64_t tail) {
  const TraceSpan span("perplexity", TraceSpan::kPhase);
  std::vector<Row> rows;
  if (config.length_size() == 0) return rows;
  const int64_t longest = *std::max_element(config.length().begin(), config.length().end());
  LR_ASSIGN_OR_RETURN(const std::vector<int64_t> ends,
                      EvaluationEnds(context.test, longest, config.windows()));
  const int64_t windows = static_cast<int64_t>(ends.size());
  for (const int64_t length : config.length()) {
    const nn::Call call;
    const int64_t batch = std::max<int64_t>(1, config.batch_rows() / length);
    LR_RETURN_IF_ERROR(model.Supports(batch, length, nn::Rows(), call));
    std::vector<double> by_position(length, 0.0);
    for (int64_t begin = 0; begin < windows; begin += batch) {
      const int64_t end = std::min(windows, begin + batch);
      const Batch text = WindowsEndingAt(
          context.test, absl::MakeConstSpan(ends).subspan(begin, end - begin), length);
      const std::vector<double> nll =
          model.Score(text.ids_bt, text.target_bt, nn::Rows(), call).nll_bt.ToDoubles();
      for (int64_t w = begin; w < end; ++w) {
        const double* mine = nll.data() + (w - begin) * length;
        const int64_t last = std::min(tail, length);
        Row row;
        row.Set("kind", "window");
        row.Set("length", length);
        row.Set("window", w);
        row.Set("nll", Mean(mine, length));
        row.Set("tail_nll", Mean(mine + length - last, last));
        rows.push_back(std::move(row));
        for (int64_t t = 0; t < length; ++t)
          by_position[t] += mine[t] / static_cast<double>(windows);
      }
    }
    if (length != longest) continue;
    for (int64_t begin = 0; begin < length; begin += config.position_bucket()) {
      const int64_t end = std::min(length, begin + config.position_bucket());
      Row row;
      row.Set("kind", "position");
      row.Set("length", length);
      row.Set("begin", begin);
      row.Set("end", end);
      row.Set("nll", Mean(by_position.data() + begin, end - begin));
      rows.push_back(std::move(row));
    }
  }
  return rows;
}

absl::StatusOr<std::vector<Row>> EvaluateStride(const StudyContext& context, const Model& model,
                                                const StudyEvaluation& config) {
  const TraceSpan span("stride", TraceSpan::kPhase);
  std::vector<Row> rows;
  if (config.stride() == 0) return rows;
  const auto size = static_cast<int64_t>(context.test.size());
  const int64_t windows = config.stride_windows();
  for (const int64_t length : config.length()) {
    const int64_t needed = (windows - 1) * config.stride() + length + 1;
    if (needed > size) {
      return absl::OutOfRangeError(
          absl::StrCat("the test text has ", size, " tokens; ", windows, " windows of ", length,
                       " tokens, each ", config.stride(), " behind the last, take ", needed));
    }
    const int64_t batch = std::max<int64_t>(1, config.batch_rows() / length);
    double sum = 0;
    for (int64_t begin = 0; begin < windows; begin += batch) {
      std::vector<int64_t> ends;
      for (int64_t w = begin; w < std::min(windows, begin + batch); ++w)
        ends.push_back(w * config.stride() + length + 1);
      const Batch text = WindowsEndingAt(context.test, ends, length);
      for (const double nll :
           model.Score(text.ids_bt, text.target_bt, nn::Rows(), nn::Call()).nll_bt.ToDoubles())
        sum += nll;
    }
    Row row;
    row.Set("kind", "stride");
    row.Set("length", length);
    row.Set("stride", config.stride());
    row.Set("windows", windows);
    row.Set("nll", sum / static_cast<double>(windows * length));
    rows.push_back(std::move(row));
  }
  return rows;
}

ExampleRequest TaskGrid::Request(int64_t length, double depth) const {
  ExampleRequest request;
  request.split = Split::kTest;
  request.length = length;
  request.depth = depth;
  request.rng = Rng(0)
                    .Child("evaluation")
                    .Child(name)
                    .Child(length)
                    .Child(static_cast<int64_t>(depth * 1000));
  return request;
}

int64_t TaskGrid::Examples(int64_t length) const {
  if (most_rows == 0) return examples;
  return std::clamp<int64_t>(most_rows / length, 1, examples);
}

int64_t TaskBatch(const StudyEvaluation& config, int64_t length) {
  const int64_t at_once =
      config.stream_rows() > 0 ? std::min(length, config.stream_rows()) : length;
  return std::max<int64_t>(1, config.batch_rows() / at_once);
}

bool MeasuredAt(const Model& model, const StudyEvaluation& config, int64_t length) {
  return config.longest_growing() == 0 || length <= config.longest_growing() ||
         model.backbone().traits().state == Growth::kConstant;
}

std::vector<TaskGrid> TaskGrids(const StudyContext& context, const StudyEvaluation& config) {
  std::vector<TaskGrid> grids;
  const auto add = [&](const std::string& name, const Task* task, const auto& lengths,
                       const auto& depths, int64_t examples) {
    if (task == nullptr || lengths.empty()) return;
    TaskGrid grid;
    grid.name = name;
    grid.task = task;
    grid.lengths.assign(lengths.begin(), lengths.end());
    grid.depths.assign(depths.begin(), depths.end());
    if (grid.depths.empty()) grid.depths = {-1};
    grid.examples = examples;
    grid.most_rows = config.cell_rows();
    grids.push_back(std::move(grid));
  };
  add(context.task_name, context.task.get(), config.task_length(), config.task_depth(),
      config.task_examples());
  for (const FurtherTask& further : context.further) {
    add(further.config.name(), further.task.get(), further.config.length(), further.config.depth(),
        further.config.examples());
  }
  return grids;
}

absl::StatusOr<std::vector<Row>> EvaluateTask(const Model& model, const StudyEvaluation& config,
                                              const TaskGrid& grid) {
  const TraceSpan span("task", TraceSpan::kPhase);
  std::vector<Row> rows;
  for (const int64_t length : grid.lengths) {
    if (!MeasuredAt(model, config, length)) continue;
    const int64_t number = grid.Examples(length), batch = TaskBatch(config, length);
    for (const double depth : grid.depths) {
      const ExampleRequest request = grid.Request(length, depth);
      double sum = 0, logprob = 0;
      std::string scores;
      for (int64_t begin = 0; begin < number; begin += batch) {  // long ones are not all held
        std::vector<Example> examples;
        for (int64_t i = begin; i < std::min(number, begin + batch); ++i) {
          LR_ASSIGN_OR_RETURN(Example example, grid.task->Make(request, i));
          examples.push_back(std::move(example));
        }
        LR_ASSIGN_OR_RETURN(const std::vector<Reply> replies,
                            Answer(model, examples, batch, config.stream_rows()));
        for (size_t i = 0; i < examples.size(); ++i) {
          const double score = grid.task->Score(examples[i], replies[i]);
          sum += score;
          absl::StrAppendFormat(&scores, "%s%.6g", scores.empty() ? "" : " ", score);
          logprob += std::accumulate(replies[i].logprob.begin(), replies[i].logprob.end(), 0.0);
        }
      }
      const double count = static_cast<double>(number);
      Row row;
      row.Set("kind", "task");
      row.Set("task", grid.name);
      row.Set("length", length);
      if (depth >= 0) row.Set("depth", depth);
      row.Set("examples", number);
      row.Set("score", sum / count);
      row.Set("scores", scores);
      row.Set("logprob", logprob / count);
      rows.push_back(std::move(row));
    }
  }
  return rows;
}

absl::StatusOr<std::vector<std::unique_ptr<Probe>>> StudyProbes(const Model& model,
                                                                const ProbeConfigs& configs) {
  std::vector<std::unique_ptr<Probe>> probes;
  for (const google::protobuf::Any& any : configs) {
    LR_ASSIGN_OR_RETURN(std::unique_ptr<Probe> probe,
                        Registry<Probe>::Get().Create(any, Probe::Args()));
    LR_RETURN_IF_ERROR(
        Annotate(probe->Accepts(model), absl::StrCat("probe '", PluginId(any.type_url()), "'")));
    probes.push_back(std::move(probe));
  }
  return probes;
}

absl::StatusOr<ProbeArgs> ProbeSequences(const StudyContext& context, int64_t length,
                                         int64_t sequences) {
  ProbeArgs args;
  args.rng = Rng(0).Child("probe");
  if (context.corpus != nullptr) {
    LR_ASSIGN_OR_RETURN(const std::vector<int64_t> ends,
                        EvaluationEnds(context.test, length, sequences));
    const Batch windows = WindowsEndingAt(context.test, ends, length);
    args.ids_bt = windows.ids_bt;
    args.target_bt = windows.target_bt;
    return args;
  }
  ExampleRequest request;
  request.split = Split::kTest;
  request.length = length;
  request.rng = args.rng;
  std::vector<Example> examples;
  for (int64_t i = 0; i < sequences; ++i) {
    LR_ASSIGN_OR_RETURN(Example example, context.task->Make(request, i));
    examples.push_back(std::move(example));
  }
  const Batch batch = Collate(examples);
  if (batch.features_btf.defined() || batch.end_b.defined()) {
    return absl::InvalidArgumentError(
        absl::StrCat("task '", context.task_name,
                     "': probes look at whole sequences of tokens, and its rows are ",
                     batch.features_btf.defined() ? "numbers" : "partly padding"));
  }
  args.ids_bt = batch.ids_bt;
  args.target_bt = batch.target_bt;
  args.answer_bt = Tensor::Zeros(batch.ids_bt.shape(), DType::kUInt8);
  for (int64_t i = 0; i < sequences; ++i) {
    for (const int64_t row : examples[i].answer_rows)
      args.answer_bt.mutable_data<uint8_t>()[i * batch.ids_bt.dim(1) + row] = 1;
  }
  return args;
}

absl::StatusOr<std::vector<Row>> EvaluateProbes(const Model& model, const ProbeConfigs& configs,
                                                const ProbeArgs& args) {
  const TraceSpan span("probes", TraceSpan::kPhase);
  std::vector<Row> rows;
  LR_ASSIGN_OR_RETURN(const std::vector<std::unique_ptr<Probe>> probes,
                      StudyProbes(model, configs));
  for (size_t i = 0; i < probes.size(); ++i) {
    const std::string id = PluginId(configs.Get(static_cast<int>(i)).type_url());
    const absl::StatusOr<std::vector<Row>> figures = probes[i]->Measure(model, args);
    if (!figures.ok()) return Annotate(figures.status(), absl::StrCat("probe '", id, "'"));
    for (const Row& figure : *figures) {
      Row row;
      row.Set("kind", "probe");
      row.Set("length", args.ids_bt.dim(1));
      row.Set("probe", id);
      for (const auto& [key, value] : figure.fields()) row.Set(key, value);
      rows.push_back(std::move(row));
    }
  }
  return rows;
}

absl::StatusOr<std::vector<Row>> EvaluateProbes(const StudyContext& context, const Model& model,
                                                const StudyEvaluation& config,
                                                int64_t trained_length) {
  if (config.probe().empty()) return std::vector<Row>();
  const int64_t length = config.probe_length() > 0 ? config.probe_length() : trained_length;
  LR_ASSIGN_OR_RETURN(const ProbeArgs args,
                      ProbeSequences(context, length, config.probe_windows()));
  return EvaluateProbes(model, config.probe(), args);
}

}  // namespace longrange
