#include <algorithm>
#include <string>
#include <vector>

#include "common/base/text_proto.h"
#include "common/base/text_proto_test.pb.h"
#include "common/testing/fuzz.h"
#include "glog/logging.h"

namespace longrange {
namespace {

bool IsOneLine(const absl::Status& status) {
  return status.message().find('\n') == absl::string_view::npos && status.message().size() < 3000;
}

}  // namespace

// A config that is read can be resolved, and what is resolved reads as the same. Each line is also
// an assignment of --set: one that is refused changes nothing.
void FuzzOne(absl::string_view input) {
  TextProtoTestConfig config;
  const absl::Status parsed = ParseTextProto(input, "fuzz", &config);
  if (parsed.ok()) {
    const std::string resolved = Resolve(config);
    TextProtoTestConfig again;
    const absl::Status status = ParseTextProto(resolved, "resolved", &again);
    CHECK(status.ok()) << status << "\n" << resolved;
    CHECK(Resolve(again) == resolved) << resolved;
  } else {
    CHECK(IsOneLine(parsed)) << parsed;
    config.Clear();
  }
  size_t begin = 0;
  while (begin < input.size()) {
    const size_t end = std::min(input.find('\n', begin), input.size());
    const std::string before = config.SerializePartialAsString();
    const absl::Status set = SetField(&config, input.substr(begin, end - begin));
    if (!set.ok()) {
      CHECK(IsOneLine(set)) << set;
      CHECK(config.SerializePartialAsString() == before);
    }
    begin = end + 1;
  }
}

std::vector<std::string> FuzzSeeds() {
  return {
      "steps: 3\nkind: SLOW\npart { rate: 1e-3 label: \"a\\n\\377\" }\nlengths: [1, 2, -3]\n",
      "plugin { [type.googleapis.com/longrange.TextProtoTestPart] { rate: 0.25 } }\n",
      "nested { nested { nested { arm { rate: inf } arm <label: 'x'> } } }  # comment\n",
      "plugin { type_url: \"type.googleapis.com/google.protobuf.Any\" value: \"\\n\\003a/b\" }\n",
      "plugin { [type.googleapis.com/google.protobuf.Any] { "
      "[type.googleapis.com/longrange.TextProtoTestConfig] { steps: 1 } } }\n",
      "steps=7\nkind=FAST\npart.rate=0.5\nlengths=1,2,3\nlengths=\narm.0.label=x\n"
      "plugin={ [type.googleapis.com/longrange.TextProtoTestPart] { rate: 1 } }\n"
      "plugin.rate=2\nnested.nested.seed=4294967295\nname.0=a\nword=b\nflag=true\n",
  };
}

}  // namespace longrange
