// main() for Google Benchmark that fails when a benchmark does: the library's own exits 0 after
// SkipWithError.

#include <benchmark/benchmark.h>

#include <iostream>
#include <memory>
#include <vector>

namespace {

// The reporter that --benchmark_format asks for, watching for failed runs.
class FailureCounter : public benchmark::BenchmarkReporter {
 public:
  FailureCounter() : display_(benchmark::CreateDefaultDisplayReporter()) {}

  bool ReportContext(const Context& context) override { return display_->ReportContext(context); }

  void ReportRuns(const std::vector<Run>& runs) override {
    for (const Run& run : runs) num_failed_ += run.error_occurred;
    display_->ReportRuns(runs);
  }

  void Finalize() override { display_->Finalize(); }

  int num_failed() const { return num_failed_; }

 private:
  const std::unique_ptr<benchmark::BenchmarkReporter> display_;
  int num_failed_ = 0;
};

}  // namespace

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  FailureCounter reporter;
  if (benchmark::RunSpecifiedBenchmarks(&reporter) == 0) {
    std::cerr << "no benchmark matches the filter\n";
    return 1;
  }
  if (reporter.num_failed() > 0) {
    std::cerr << reporter.num_failed() << " benchmark run(s) failed\n";
    return 1;
  }
  return 0;
}
