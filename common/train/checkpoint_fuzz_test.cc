#include <fstream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/io/atomic_file.h"
#include "common/io/checksum.h"
#include "common/testing/fuzz.h"
#include "common/train/checkpoint.h"
#include "glog/logging.h"

namespace longrange {
namespace {

constexpr char kSeparator[] = "\n====\n";  // between the files of a folder, in one input
constexpr const char* kFiles[] = {"manifest.json", "step-00000002.safetensors",
                                  "step-00000001.safetensors"};

void WriteQuickly(const std::string& path, absl::string_view bytes) {
  std::ofstream(path, std::ios::binary).write(bytes.data(), static_cast<int64_t>(bytes.size()));
}

void Load(const std::string& folder) {
  std::vector<std::string> warnings;
  const absl::StatusOr<std::optional<train::Checkpoint>> loaded =
      train::CheckpointFolder(folder).LoadLatest(&warnings);
  for (const std::string& warning : warnings)
    CHECK(warning.find('\n') == std::string::npos) << warning;
  if (loaded.ok() && loaded->has_value()) CHECK_GE((*loaded)->step, 0);
  if (!loaded.ok()) CHECK(!loaded.status().message().empty());
}

}  // namespace

// A damaged folder gives a checkpoint, nothing, or an error; with a manifest that has the right
// checksums of damaged files too.
void FuzzOne(absl::string_view input) {
  const std::string folder = FuzzFolder();
  const std::vector<absl::string_view> parts =
      absl::StrSplit(input, absl::MaxSplits(kSeparator, 2));
  std::string manifest;
  for (size_t i = 0; i < parts.size(); ++i) {
    WriteQuickly(absl::StrCat(folder, "/", kFiles[i]), parts[i]);
    if (i == 0) continue;
    absl::StrAppend(&manifest, manifest.empty() ? "" : ",", R"({"step":)", 3 - i, R"(,"file":")",
                    kFiles[i], R"(","xxh3":")", ChecksumHex(Checksum(parts[i])), "\"}");
  }
  Load(folder);
  WriteQuickly(absl::StrCat(folder, "/", kFiles[0]),
               absl::StrCat(R"({"format":1,"checkpoints":[)", manifest, "]}"));
  Load(folder);
}

std::vector<std::string> FuzzSeeds() {
  const std::string folder = FuzzFolder();
  const train::CheckpointFolder checkpoints(folder);
  train::Checkpoint checkpoint;
  checkpoint.tensors["parameters/w"] = Tensor::Full({2, 2}, 0.5);
  checkpoint.tensors["moments/w"] = Tensor::Full({2, 2}, 0.25, DType::kFloat64);
  checkpoint.metadata["config_hash"] = "00ff";
  for (int step = 1; step <= 2; ++step) {
    checkpoint.step = step;
    CHECK(checkpoints.Save(checkpoint).ok());
  }
  std::string seed;
  for (const char* file : kFiles) {
    absl::StrAppend(&seed, seed.empty() ? "" : kSeparator,
                    ReadFile(absl::StrCat(folder, "/", file)).value());
  }
  return {seed, seed.substr(0, seed.find(kSeparator)), R"({"checkpoints":[]})"};
}

}  // namespace longrange
