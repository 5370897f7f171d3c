// What the arms of a study say of the findings of "A Controlled Study on Long Context Extension and
// Generalization in LLMs" (Lu et al., arXiv 2409.12181), each by a rule that was fixed before there
// were rows to look at (comparison.h).

#ifndef LONGRANGE_PLUGINS_STUDY_FINDINGS_H_
#define LONGRANGE_PLUGINS_STUDY_FINDINGS_H_

#include <string>
#include <vector>

#include "plugins/study/comparison.h"
#include "plugins/study/results.h"

namespace longrange {

// S1 "diverges": perplexity above this multiple of the base model's. The project's scaled-down
// protocol on synthetic text (three seeds) asks for it at twice the trained length, and for the
// next one at twice the extended length in S3.
inline constexpr double kDiverged = 5;
inline constexpr double kCollapsed = 1.5;
// S4: the paper's frozen NTK has 1.08 times the perplexity of the trained length at twice that
// length, 1.26 times at four times (Table 2, PG19: 6.30, 6.82, 7.94). "Works" and "fails" are set
// between the two.
inline constexpr double kWorks = 1.1;
inline constexpr double kFails = 1.2;
// S7 "a little": the largest cost within the trained length in the paper is PI's, 4 % (Table 2,
// PG19 at 2k: 6.61, 6.88).
inline constexpr double kALittle = 1.05;
// S5 "flat" and "almost nothing": LM-Infinite's perplexity at eight times the trained length
// is 1.07 times that at the trained length (Table 2, PG19: 6.30, 6.71); of needles out of its sight
// it can find none but by chance.
inline constexpr double kFlat = 1.1;
inline constexpr double kAlmostNothing = 0.1;
// S9: with less than half the factor of the tuning, perplexity is 1.22 times that with it; with
// twice it, 1.01 times (scale factors u = 13, 29, 61 on two documents of PG19 at 32k: 8.35, 6.82,
// 6.91).
inline constexpr double kHurts = 1.1;
// Retrieval is judged only where the base model finds the needle within its trained length.
inline constexpr double kNeedleSolved = 0.95;
// A further task takes part where the base model scores this within its trained length.
inline constexpr double kTaskSolved = 0.8;
// S6 speaks of a ranking: so many methods must be told apart by both measures.
inline constexpr int kLeastRanking = 3;

// What a protocol may name in `findings`.
inline constexpr char kFindings[] = "context_extension_study";

// S1 to S9 or P1 to P6 in order, where the protocol asks for them; then those that it states
// itself.
std::vector<Finding> StudyFindings(const StudyResults& study);

// Held-out score of the base models within the trained length, the worst of them: of the last check
// in training; where there was none, of the frozen direct arm on the grid. NaN: not measured.
double BaseTaskScore(const StudyResults& study);

}  // namespace longrange

#endif  // LONGRANGE_PLUGINS_STUDY_FINDINGS_H_
