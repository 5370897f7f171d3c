// An honest mixer that uses all of the contract, and the ways in which it can be made to lie: one
// for every check of the suite at least. B batch, T rows, D width.
//
// With u = W_in x, a decay a in (0, 1) for each channel, and y = W_out m:
//   m_t = sum over s <= t of a^(t - s) u_s        parallel form, T^2 work
//   m_t = a m_(t-1) + u_t                         recurrent form
// Both directions: the sum over all s, with a^|t - s|, and distances to and from a global row are
// 0; with a frontier, over all s before it. On a grid, no gradient flows through m from one segment
// (or so many) to the next.

#ifndef LONGRANGE_PLUGINS_CONFORMANCE_LIARS_EXEMPLAR_H_
#define LONGRANGE_PLUGINS_CONFORMANCE_LIARS_EXEMPLAR_H_

#include "plugins/conformance/layer.h"

namespace longrange::conformance {

enum class Lie {
  kNone,
  kDropsARow,           // gives T - 1 rows for odd T
  kAgreesToEverything,  // Supports refuses nothing
  kRefusesADeclared,    // Supports refuses a form that the traits declare
  kCountsItsCalls,      // a hidden counter changes the result
  kCountsThreads,       // the number of threads does
  kMixesTheBatch,       // rows get the mean over the batch, undeclared
  kClaimsCoupling,      // declares batch_coupled, and is not
  kOverflows,           // exp of an activation
  kReadsUnwritten,      // adds memory that was never written
  kWritesItsInput,      // returns the input's own memory
  kReusesItsOutput,     // one buffer for the results of all calls
  kMovesItsBuffer,      // a call in training writes its running statistics itself
  kPeeks,               // every row gets the mean of all rows
  kPeeksBackwards,      // the values are causal, the gradients are not
  kClaimsBothWays,      // declares to be bidirectional, and is causal
  kFadesBetweenPieces,  // every Extend weakens the state
  kRoundsItsState,      // float32 streams keep 8 bits of mantissa
  kHidesItsState,       // keeps the state in the layer
  kDerivesItsState,     // calls its state derived from parameters
  kStateGrows,          // keeps every row, declared constant
  kStateOfOtherSize,    // keeps a number that is not declared
  kClaimsNoGradient,    // gradients cross the grid, declared otherwise
  kDetachesMore,        // at every border, though some are declared to be crossed
  kOneMoreParameter,
  kUnknownGroup,
  kOffByAThousandth,    // all of it, so that only a reference tells
  kOtherRecurrence,     // only the recurrent form
  kWrongGradient,       // of one parameter, by 1 %
  kDropsStateGradient,  // Extend detaches its state
  kIgnoresPadding,
  kIgnoresDocuments,
  kIgnoresFrontier,
  kStreamsWithoutFrontier,  // only Extend
  kIgnoresRoles,
  kRolesOfTheFirst,  // all samples get those of the first one
  kClaimsLinearWork,
  kCountsNothingDry,     // less work is counted on meta tensors
  kOtherTree,            // a parameter more under another config
  kMindsListeners,       // a sink changes the result
  kIgnoresReplacement,   // offers a side output, and goes on with its own
  kNeverOffers,          // declares a side output that it never offers
  kStaysInItsRow,        // exchanges nothing between rows
  kForgetsAParameter,    // behind a state, a parameter gets no gradient
  kClaimsResidual,       // declares to own its residual, and passes nothing on
  kLossWithoutGradient,  // gives a further loss that trains nothing
  kLossWithoutTraining,  // gives it in evaluation too
  kGivesInnerRows,       // a backbone tells of its own rows
  kMoreOwnRows,          // gives back one more than it declares
  kTellsOfItsInput,      // says of rows of its own what it was told of those that it read
  kReadsOneRow,          // its own rows have seen the first row alone
};

struct ExemplarOptions {
  Lie lie = Lie::kNone;
  nn::Direction direction = nn::Direction::kCausal;
  int64_t segment = 0, gradient_segments = 1;
  // In a backbone that puts a row of its own in front of the sequence.
  bool inserts = false;
  // In a backbone that gives back rows of its own, made of the mean of those that it reads.
  bool own_rows = false;
};

// The exemplar with its reference and what conformance.textproto would declare of it.
LayerSubject Exemplar(const ExemplarOptions& options);

}  // namespace longrange::conformance

#endif  // LONGRANGE_PLUGINS_CONFORMANCE_LIARS_EXEMPLAR_H_
