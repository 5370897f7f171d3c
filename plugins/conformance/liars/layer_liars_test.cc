// The suite against layers that lie: the honest exemplar passes every check, and every check
// catches a liar.

#include <map>
#include <set>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "plugins/conformance/layer_checks.h"
#include "plugins/conformance/liars/exemplar.h"

namespace longrange::conformance {
namespace {

struct Liar {
  const char* check;
  Lie lie;
  ExemplarOptions options = {};
};

constexpr ExemplarOptions kGrid = {Lie::kNone, nn::Direction::kCausal, 4};
// Gradients cross every second border.
constexpr ExemplarOptions kPairs = {Lie::kNone, nn::Direction::kCausal, 3, 2};
// A backbone with a row of its own.
constexpr ExemplarOptions kInserts = {Lie::kNone, nn::Direction::kCausal, 0, 1, true};
constexpr ExemplarOptions kBothWays = {Lie::kNone, nn::Direction::kBidirectional};
// A backbone that gives back other rows than those that it reads.
constexpr ExemplarOptions kOwnRows = {Lie::kNone, nn::Direction::kBidirectional, 0, 1, false, true};

const std::vector<Liar>& Liars() {
  static const auto* liars = new std::vector<Liar>{
      {"Shapes", Lie::kDropsARow},
      {"Shapes", Lie::kMoreOwnRows, kOwnRows},
      {"RefusesWhatItDoesNotDeclare", Lie::kAgreesToEverything, kGrid},
      {"RefusesWhatItDoesNotDeclare", Lie::kRefusesADeclared},
      {"SameSeedSameBits", Lie::kCountsItsCalls},
      {"AnyNumberOfThreads", Lie::kCountsThreads},
      {"Neighbours", Lie::kMixesTheBatch},
      {"Neighbours", Lie::kClaimsCoupling},
      {"Finite", Lie::kOverflows},
      {"ReadsNothingUnwritten", Lie::kReadsUnwritten},
      {"SharesNoMemory", Lie::kWritesItsInput},
      {"SharesNoMemory", Lie::kReusesItsOutput},
      {"SharesNoMemory", Lie::kMovesItsBuffer},
      {"Causal", Lie::kPeeks},
      {"Causal", Lie::kPeeksBackwards},
      {"Causal", Lie::kClaimsBothWays},
      {"Causal", Lie::kReadsOneRow, kOwnRows},
      {"StreamsOverAnyCut", Lie::kFadesBetweenPieces},
      {"StreamsInFloat32", Lie::kRoundsItsState},
      {"StateIsAllThereIs", Lie::kHidesItsState},
      {"StateIsAllThereIs", Lie::kDerivesItsState},
      {"StateAsDeclared", Lie::kStateGrows},
      {"StateAsDeclared", Lie::kStateOfOtherSize},
      {"MemoryGradientAsDeclared", Lie::kClaimsNoGradient, kGrid},
      {"MemoryGradientAsDeclared", Lie::kClaimsNoGradient, kPairs},
      {"MemoryGradientAsDeclared", Lie::kDetachesMore, kPairs},
      {"ParametersAsDeclared", Lie::kOneMoreParameter},
      {"ParametersAsDeclared", Lie::kUnknownGroup},
      {"EqualsReference", Lie::kOffByAThousandth},
      {"FormsAgree", Lie::kOtherRecurrence},
      {"GradientsAreRight", Lie::kWrongGradient},
      {"StateGradientsAreRight", Lie::kDropsStateGradient},
      {"GradientsBehindAState", Lie::kForgetsAParameter},
      {"GradientsBehindAState", Lie::kForgetsAParameter, kGrid},
      {"PassesItsInputOn", Lie::kClaimsResidual},
      {"PaddingChangesNothing", Lie::kIgnoresPadding},
      {"PaddingChangesNothing", Lie::kIgnoresPadding, kOwnRows},
      {"DocumentsNeverMeet", Lie::kIgnoresDocuments},
      {"SeesUpToTheFrontier", Lie::kIgnoresFrontier},
      {"StreamsUnderAFrontier", Lie::kStreamsWithoutFrontier},
      {"GlobalRowsMeetAll", Lie::kIgnoresRoles, kBothWays},
      {"GlobalRowsMeetAll", Lie::kRolesOfTheFirst, kBothWays},
      {"WorkGrowsAsClaimed", Lie::kClaimsLinearWork},
      {"CountsWithoutMemory", Lie::kCountsNothingDry},
      {"SameParametersUnderOtherParts", Lie::kOtherTree},
      {"ListeningChangesNothing", Lie::kMindsListeners},
      {"ListeningChangesNothing", Lie::kIgnoresReplacement},
      {"ListeningChangesNothing", Lie::kNeverOffers},
      {"FurtherLossesTrain", Lie::kLossWithoutGradient},
      {"FurtherLossesTrain", Lie::kLossWithoutTraining},
      {"GivesBackItsRows", Lie::kGivesInnerRows, kInserts},
      {"GivesBackItsRows", Lie::kMoreOwnRows, kOwnRows},
      {"GivesBackItsRows", Lie::kTellsOfItsInput, kOwnRows},
      {"LearnsATinyTask", Lie::kStaysInItsRow},
  };
  return *liars;
}

const LayerCheck& Find(const std::string& name) {
  for (const LayerCheck& check : LayerChecks()) {
    if (check.name == name) return check;
  }
  LOG(FATAL) << "no check " << name;
}

TEST(LayerChecksTest, AnHonestLayerPassesAll) {
  for (const ExemplarOptions& options :
       {ExemplarOptions(), kGrid, kPairs, kInserts, kBothWays, kOwnRows}) {
    for (const LayerCheck& check : LayerChecks()) {
      const Verdict verdict = check.run(Exemplar(options));
      EXPECT_FALSE(verdict.failed()) << check.name << ": " << verdict.why;
    }
  }
}

TEST(LayerChecksTest, EveryLiarIsCaught) {
  for (const Liar& liar : Liars()) {
    ExemplarOptions options = liar.options;
    options.lie = liar.lie;
    const Verdict verdict = Find(liar.check).run(Exemplar(options));
    EXPECT_TRUE(verdict.failed()) << liar.check << ", lie " << static_cast<int>(liar.lie) << ": "
                                  << verdict.why;
    EXPECT_FALSE(verdict.failed() && verdict.why.empty()) << liar.check;
    if (verdict.failed()) std::cout << liar.check << ": " << verdict.why << "\n";
  }
}

TEST(LayerChecksTest, EveryCheckHasALiar) {
  std::set<std::string> lied_to;
  for (const Liar& liar : Liars()) lied_to.insert(liar.check);
  for (const LayerCheck& check : LayerChecks()) {
    // Nothing can lie about a device that is not there.
    if (std::string(check.name) == "CudaEqualsCpu") continue;
    EXPECT_EQ(lied_to.count(check.name), 1) << check.name << ": " << check.promise;
  }
}

}  // namespace
}  // namespace longrange::conformance
