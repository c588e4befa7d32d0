#pragma once

#include <optional>
#include <span>
#include <string_view>

namespace sparity::core {

/// The mistakes that can be planted in the candidate (docs/testing.md tells each one's story). One
/// enumerator per mistake; the register's number is in its name; F01 … F54 are known from
/// elsewhere, F61 and on are this project's own.
enum class Fault {
  kNone,
  kF01IndexerRopeInterleaved,
  kF02MainRopeHalfSplit,
  kF03aRopeQueryOnly,
  kF03bRopeSignFlipped,
  kF03cPositionsPlusOne,
  kF03dNoMscaleInSoftmaxScale,
  kF04RopeOnNopeSlice,
  kF05MaskLeaksOneToken,
  kF06MaskStrict,
  kF07NoMaskInIndexer,
  kF08MaskAfterTopk,
  kF09SoftmaxOverWrongAxis,
  kF10ScaleFromNopeDim,
  kF11ScaleOnePercentHigh,
  kF12TargetOverHeads,
  kF13TargetNotRenormalised,
  kF14KlReversed,
  kF15MeanOverPaddedRows,
  kF16MeanOverSequences,
  kF17TeacherFromPartialLse,
  kF18ExpertWeightsSwapped,
  kF19BiasInGateWeights,
  kF20GroupScoreMax,
  kF21MaskedGroupsZero,
  kF22RoutedScalingDropped,
  kF23WeightFromBiasedScore,
  kF24HiddenStateNotDetached,
  kF25QueryLatentNotDetached,
  kF26LmGradientReachesIndexer,
  kF27IndexerNotFrozen,
  kF28AlphaNotDivided,
  kF29AdapterFactorsSwapped,
  kF30AdapterGraphSevered,
  kF31GradientOfTheOtherAdapter,
  kF32DropoutInEvaluation,
  kF40EpsOutsideSqrt,
  kF41NormSubtractsMean,
  kF42NormOverWrongAxis,
  kF43GainIgnored,
  kF44HadamardUnnormalised,
  kF45IndexerReluOmitted,
  kF46HeadWeightScaleMissing,
  kF48AccumulatesInBf16,
  kF49StaleTail,
  kF50OneNan,
  kF51LastTileDropped,
  kF52InputModified,
  kF53NoBiasCorrection,
  kF54LabelShiftOff,
  kF61ResidualFromNorm,
  kF62FinalNormWithoutResidual,
  kF71NoDeltaInAttentionBackward,
  kF72SiluSlopeIsSigmoid,
  kF73QueryGradientUnscaled,
  kF74ResidualDetached,
  kF75LastKeyTileWithoutGradient,
  kF76FirstTileCountedTwice,
  kF77LseOfTheRowBefore,
  kF78KeyGradientOnePlaceLate,
  kF79LastExpertWithoutGradient,
  kF80RopeBackwardTurnsForward,
  kF81NormBackwardWithoutProjection,
  kF82RoutingWeightsWithoutGradient,
  kF83LossGradientOverAllTokens,
  kF84RepeatedTokenOverwrites,
  kF85GainSumsInBf16,
  kF86DecayInGradient,
  kF87EpsilonInsideRoot,
  kF88StepCountedLate,
  kF89KlCoefficientNotInGradient,
  kF90KeyNormBiasDecays,
  kF91MicroBatchesWeighAlike,
  kF92StepCountLostOnResume,
  kF93EveryEpochInTheFirstOrder,
  kF94DropoutRestartsOnResume,
  kF95BiasSignFlipped,
  kF96ClippedByOneNorm,
  kF97KlShareByRows,
  kF98ValidationWeighsBatchesAlike,
  kF99LastIndexHeadWithoutGradient,
  kF100IdleExpertWithoutGradient,
  kF101IndexerReadsUnnormedLatent,
  kF102HadamardOnQueriesAlone,
  kF103KeyNormIsRmsNorm,
  kF104WarmUpOverTopk,
  kF105SelectionBiasInBf16,
  kF106NormTopkProbIgnored,
  kF107LoadCountedTwice,
  kF108ExpertsSwappedAtLoad,
  kF109IndexRopeOnLastChannels,
  kF110KeyNormEps,
  kF112SoftmaxScaleFromMscale,
  kF113MscaleAppliedTwice,
  kF114BoolMaskAdded,
  kF115PaddedWithKeyZero,
  kF116TopkLimitedByQueries,
  kF117TiesToHigherIndex,
  kF118WeightBeforeRelu,
  kF119ScoresAveragedOverHeads,
  kF120LogitsInActivation,
  kF121LowestForMaskedScores,
  kF122EmptyRowsUniform,
  kF123ScaleHighOfManyHeads,
  kF124KeyTileOfOneSkipped,
  kF125KeyTileOfOneWithoutGradient,
  kF126KlKeyTileOfOneSkipped,
  kF127ExpertLosesToken,
  kF128ExpertLosesGradient,
  kF129KeyGradientsInBf16,
  kF130LatentNormEps,
  kF131PositionsFromMask,
  kF132ForcedKeysNotMasked,
  kF133OwnGroupNotScored,
};

/// One row of the register.
struct FaultInfo {
  Fault fault = Fault::kNone;
  std::string_view id;      // "F01"
  std::string_view title;   // one line, for reports
  std::string_view suite;   // the suite that must kill it
  std::string_view locate;  // the trace name, or its tail, that must be named as first divergent
  std::string_view dtype = {};  // the one dtype in which it shows; empty: in each
};

/// Every plantable fault; empty in builds without them.
std::span<const FaultInfo> fault_register();
std::optional<Fault> fault_from_id(std::string_view id);

#ifdef SPARITY_FAULTS
/// Plants `fault` from now on (kNone: none). Not for use while other threads run the candidate.
void sparity_fault_plant(Fault fault);
bool sparity_fault_planted(Fault fault);
/// True where the candidate must make this mistake: `shift = planted(Fault::kX) ? 1 : 0`.
inline bool planted(Fault fault) { return sparity_fault_planted(fault); }
#else
constexpr bool planted(Fault) { return false; }
#endif

}  // namespace sparity::core
