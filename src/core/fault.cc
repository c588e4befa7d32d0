#include "src/core/fault.h"

#include <array>

namespace sparity::core {

namespace {

#ifdef SPARITY_FAULTS

using enum Fault;

constexpr std::array kRegister = {
    FaultInfo{kF01IndexerRopeInterleaved, "F01", "indexer RoPE interleaved instead of half-split",
              "indexer", "indexer.q"},
    FaultInfo{kF02MainRopeHalfSplit, "F02", "main RoPE half-split instead of interleaved", "rope",
              "rotate_interleaved"},
    FaultInfo{kF03aRopeQueryOnly, "F03a", "RoPE on queries only", "attention", "self_attn.k_rot"},
    FaultInfo{kF03bRopeSignFlipped, "F03b", "RoPE turns the wrong way", "rope",
              "rotate_interleaved"},
    FaultInfo{kF03cPositionsPlusOne, "F03c", "positions start at one for keys", "attention",
              "self_attn.k_rot"},
    FaultInfo{kF03dNoMscaleInSoftmaxScale, "F03d", "YaRN's mscale² missing in the softmax scale",
              "attention", "self_attn.lse"},
    FaultInfo{kF04RopeOnNopeSlice, "F04", "RoPE applied to the first slice of an MLA head",
              "attention", "self_attn.q"},
    FaultInfo{kF05MaskLeaksOneToken, "F05", "mask lets every query see one future token", "masking",
              "key_mask"},
    FaultInfo{kF06MaskStrict, "F06", "mask hides the query's own token", "masking", "key_mask"},
    FaultInfo{kF07NoMaskInIndexer, "F07", "mask missing in the indexer only", "masking",
              "indexer.scores"},
    FaultInfo{kF08MaskAfterTopk, "F08", "mask applied after top-k: future keys use up places",
              "masking", "indexer.scores"},
    FaultInfo{kF09SoftmaxOverWrongAxis, "F09", "softmax over heads instead of keys", "attention",
              "self_attn.attn_output"},
    FaultInfo{kF10ScaleFromNopeDim, "F10", "softmax scale from the nope dimension alone",
              "attention", "self_attn.lse"},
    FaultInfo{kF11ScaleOnePercentHigh, "F11", "softmax scale one percent high", "attention",
              "self_attn.lse"},
    FaultInfo{kF12TargetOverHeads, "F12", "KL target normalised over heads, not keys",
              "indexer_loss", "kl_target"},
    FaultInfo{kF13TargetNotRenormalised, "F13", "KL target not renormalised after top-k",
              "indexer_loss", "kl_target"},
    FaultInfo{kF14KlReversed, "F14", "KL divergence the wrong way round", "indexer_loss",
              "kl_rows"},
    FaultInfo{kF15MeanOverPaddedRows, "F15", "KL loss averaged over padded rows too", "training",
              "kl_loss"},
    FaultInfo{kF16MeanOverSequences, "F16", "KL loss divided by sequences, not by rows", "training",
              "kl_loss"},
    FaultInfo{kF17TeacherFromPartialLse, "F17", "KL target from the log-sum-exp of half the keys",
              "indexer_loss", "kl_target"},
    FaultInfo{kF18ExpertWeightsSwapped, "F18", "gate and up projections of experts swapped", "moe",
              "mlp.experts"},
    FaultInfo{kF19BiasInGateWeights, "F19", "selection bias included in the routing weights",
              "routing", "mlp.gate.topk_weights"},
    FaultInfo{kF20GroupScoreMax, "F20", "group score is the maximum, not the sum of the top two",
              "routing", "mlp.gate.topk_indices"},
    FaultInfo{kF21MaskedGroupsZero, "F21", "unselected groups filled with 0, not -inf", "routing",
              "mlp.gate.topk_indices"},
    FaultInfo{kF22RoutedScalingDropped, "F22", "routed_scaling_factor dropped", "routing",
              "mlp.gate.topk_weights"},
    FaultInfo{kF23WeightFromBiasedScore, "F23",
              "routing weight recovered as biased score minus bias", "routing",
              "mlp.gate.topk_weights"},
    FaultInfo{kF24HiddenStateNotDetached, "F24",
              "hidden state not detached before the indexer: the KL loss trains the model",
              "training", "input_layernorm.weight"},
    FaultInfo{kF25QueryLatentNotDetached, "F25",
              "query latent not detached before the indexer: the KL loss trains the model",
              "training", "q_a_proj.weight"},
    FaultInfo{kF26LmGradientReachesIndexer, "F26", "LM loss leaks into the indexer", "training",
              "weights_proj.weight"},
    FaultInfo{kF27IndexerNotFrozen, "F27", "indexer trained in the stage that freezes it", "stages",
              "indexer.wq_b.weight"},
    FaultInfo{kF28AlphaNotDivided, "F28", "LoRA scaled by alpha, not alpha / r", "lora", "o_proj"},
    FaultInfo{kF29AdapterFactorsSwapped, "F29", "LoRA's A and B swapped", "lora", "o_proj"},
    FaultInfo{kF30AdapterGraphSevered, "F30",
              "an adapted weight rebuilt without its graph: its adapter learns nothing", "lora",
              "kv_b_proj.lora_A.default.weight"},
    FaultInfo{kF31GradientOfTheOtherAdapter, "F31",
              "the second adapter's gradient goes to the first", "lora", "lora_A.second.weight"},
    FaultInfo{kF32DropoutInEvaluation, "F32", "LoRA's dropout left on in evaluation", "lora",
              "logits"},
    FaultInfo{kF40EpsOutsideSqrt, "F40", "RMSNorm epsilon outside the square root", "norm",
              "rms_norm"},
    FaultInfo{kF41NormSubtractsMean, "F41", "RMSNorm subtracts the mean", "norm", "rms_norm"},
    FaultInfo{kF42NormOverWrongAxis, "F42", "RMSNorm over tokens instead of channels", "norm",
              "rms_norm"},
    FaultInfo{kF43GainIgnored, "F43", "RMSNorm gain ignored", "norm", "rms_norm"},
    FaultInfo{kF44HadamardUnnormalised, "F44", "Hadamard transform without its 1/sqrt(n)",
              "indexer", "hadamard"},
    FaultInfo{kF45IndexerReluOmitted, "F45", "ReLU omitted in the indexer's score", "indexer",
              "indexer.scores"},
    FaultInfo{kF46HeadWeightScaleMissing, "F46", "head weights without 1/sqrt(index heads)",
              "indexer", "indexer.weights"},
    FaultInfo{kF48AccumulatesInBf16, "F48", "expert outputs accumulated in bfloat16", "moe",
              "mlp.experts"},
    FaultInfo{kF49StaleTail, "F49", "last query tile left as the buffer was", "selection",
              "indexer.topk_indices"},
    FaultInfo{kF50OneNan, "F50", "one NaN in the attention output", "attention",
              "self_attn.attn_output"},
    FaultInfo{kF51LastTileDropped, "F51", "last key tile left out of the scores", "selection",
              "indexer.topk_indices"},
    FaultInfo{kF52InputModified, "F52", "an operation writes into its input", "norm",
              "leaves input x unchanged"},
    FaultInfo{kF53NoBiasCorrection, "F53", "AdamW without bias correction", "training",
              "first.master"},
    FaultInfo{kF54LabelShiftOff, "F54", "labels not shifted against the logits", "loss", "lm_loss"},
    FaultInfo{kF61ResidualFromNorm, "F61",
              "second residual taken from the norm instead of the stream", "block",
              "post_attention_layernorm"},
    FaultInfo{kF62FinalNormWithoutResidual, "F62", "final norm misses the residual stream", "model",
              "norm"},
    FaultInfo{kF71NoDeltaInAttentionBackward, "F71",
              "attention backward without the softmax's own term", "gradients", "self_attn.k_rot"},
    FaultInfo{kF72SiluSlopeIsSigmoid, "F72", "derivative of silu taken for the sigmoid",
              "gradients", "post_attention_layernorm"},
    FaultInfo{kF73QueryGradientUnscaled, "F73", "query gradient without the softmax scale",
              "gradients", "self_attn.q"},
    FaultInfo{kF74ResidualDetached, "F74", "residual stream detached on the way back", "gradients",
              "self_attn"},
    FaultInfo{kF75LastKeyTileWithoutGradient, "F75", "last key tile left out of the dense backward",
              "gradients", "self_attn.k_rot"},
    FaultInfo{kF76FirstTileCountedTwice, "F76",
              "key gradients of the first query tile counted twice", "gradients",
              "self_attn.k_rot"},
    FaultInfo{kF77LseOfTheRowBefore, "F77", "log-sum-exp of the query before used in the backward",
              "gradients", "self_attn.k_rot"},
    FaultInfo{kF78KeyGradientOnePlaceLate, "F78", "key gradients scattered one key too far",
              "gradients", "self_attn.k_rot"},
    FaultInfo{kF79LastExpertWithoutGradient, "F79", "last expert left out of the backward",
              "gradients", "mlp.gate.topk_weights"},
    FaultInfo{kF80RopeBackwardTurnsForward, "F80",
              "RoPE's backward turns the same way as its forward", "gradients",
              "self_attn.q_a_layernorm"},
    FaultInfo{kF81NormBackwardWithoutProjection, "F81",
              "RMSNorm's backward ignores that the norm depends on its input", "gradients",
              "layers.3"},
    FaultInfo{kF82RoutingWeightsWithoutGradient, "F82", "routing weights receive no gradient",
              "gradients", "mlp.gate.topk_weights"},
    FaultInfo{kF83LossGradientOverAllTokens, "F83",
              "loss gradient divided by all tokens, not by those that count", "gradients",
              "logits"},
    FaultInfo{kF84RepeatedTokenOverwrites, "F84",
              "embedding gradient keeps the last of a repeated token", "gradients",
              "embed_tokens.weight"},
    // In bfloat16 the baseline's own gradients carry errors of this size.
    FaultInfo{kF85GainSumsInBf16, "F85", "gradients of RMSNorm gains accumulated in bfloat16",
              "gradients", "norm.weight", "float32"},
    FaultInfo{kF86DecayInGradient, "F86", "AdamW's decay added to the gradient, as Adam does",
              "training", "first.master"},
    FaultInfo{kF87EpsilonInsideRoot, "F87", "AdamW's epsilon inside the square root", "training",
              "first.master"},
    FaultInfo{kF88StepCountedLate, "F88", "AdamW's bias correction counts one step too many",
              "training", "first.master"},
};

Fault planted_fault = kNone;

#endif

}  // namespace

#ifdef SPARITY_FAULTS

std::span<const FaultInfo> fault_register() { return kRegister; }

void sparity_fault_plant(Fault fault) { planted_fault = fault; }

bool sparity_fault_planted(Fault fault) { return planted_fault == fault; }

#else

std::span<const FaultInfo> fault_register() { return {}; }

#endif

std::optional<Fault> fault_from_id(std::string_view id) {
  for (const FaultInfo& info : fault_register()) {
    if (info.id == id) {
      return info.fault;
    }
  }
  return std::nullopt;
}

}  // namespace sparity::core
