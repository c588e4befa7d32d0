#pragma once

#include "src/train/train_options.h"

#include <cstdint>
#include <string>
#include <string_view>

namespace sparity::train {

/// "a, b, c": the words of an option.
template <typename Option>
std::string listed_words() {
  std::string words;
  for (const auto& entry : core::option_words<Option>()) {
    words += (words.empty() ? "" : ", ") + std::string(entry.word);
  }
  return words;
}

/// A loss that an option belongs to: stages without it refuse the option.
enum class OptionOf { kAnyStage, kKlStage, kJointStage, kModelStage };

/// Null where the stage has what the option is about, else what to expect in its place.
const char* refusal(OptionOf of, Stage stage);

/// What is said of an option beside its value.
struct OptionField {
  std::string_view name;  // the member in JSON; the flag is the same with "--" and hyphens
  std::string_view help;
  OptionOf of = OptionOf::kAnyStage;
  double least = 0;  // of a number
  double most = 1e12;
};

/// Calls `visit(field, value)` for every option but the stage, once: the list from which JSON is
/// read and written and flags are made. Values are std::int64_t, double, std::optional<double>,
/// bool, core::Dtype, core::Recipe, or an enumeration with core::option_words.
template <typename Options, typename Visitor>
void visit_options(Options& o, Visitor&& visit) {
  using enum OptionOf;
  visit(OptionField{"steps", "Optimizer steps of the whole run", kAnyStage, 1}, o.steps);
  visit(OptionField{"batch", "Rows of a micro-batch", kAnyStage, 1, 1e6}, o.batch);
  visit(OptionField{"accumulate", "Micro-batches of a step", kAnyStage, 1, 1e6}, o.accumulate);
  visit(OptionField{"lr", "Peak learning rate", kAnyStage, 0, 1e38}, o.adamw.learning_rate);
  visit(OptionField{"indexer_lr", "The indexer's peak learning rate (default: --lr)", kKlStage, 0,
                    1e38},
        o.indexer_learning_rate);
  visit(OptionField{"beta1", "AdamW's decay of the mean", kAnyStage, 0, 1}, o.adamw.beta1);
  visit(OptionField{"beta2", "AdamW's decay of the mean square", kAnyStage, 0, 1}, o.adamw.beta2);
  visit(OptionField{"eps", "AdamW's epsilon", kAnyStage, 0, 1}, o.adamw.eps);
  visit(OptionField{"weight_decay", "AdamW's weight decay", kAnyStage, 0, 1e6},
        o.adamw.weight_decay);
  visit(OptionField{"decay", "What decays: everything, or all but the norms' gains and biases"},
        o.decay);
  visit(OptionField{"schedule", "Shape of the learning rate after its warm-up"}, o.schedule.kind);
  visit(OptionField{"warmup", "Steps over which the learning rate rises"}, o.schedule.warmup_steps);
  visit(OptionField{"schedule_steps", "Steps after which a cosine ends (0: --steps)"},
        o.schedule.total_steps);
  visit(OptionField{"least_fraction", "Of the peak, where a cosine ends", kAnyStage, 0, 1},
        o.schedule.least_fraction);
  visit(OptionField{"clip", "Largest norm of the gradients (0: no clipping)", kAnyStage, 0, 1e38},
        o.clip);
  visit(OptionField{"indexer_clip",
                    "The same for the indexer's gradients, with --clip-scope group (default: "
                    "--clip)",
                    kKlStage, 0, 1e38},
        o.indexer_clip);
  visit(OptionField{"clip_scope", "One norm over all gradients, or one each for model and indexer"},
        o.clip_scope);
  visit(OptionField{"kl_coefficient", "Factor of the KL loss", kKlStage, 0, 1e6}, o.kl.coefficient);
  visit(OptionField{"kl_target", "Attention that the indexer learns", kKlStage}, o.kl.target);
  visit(OptionField{"kl_support", "Keys over which its distribution is normalised", kKlStage},
        o.kl.support);
  visit(OptionField{"kl_reduction", "From rows and layers to one number", kKlStage},
        o.kl.reduction);
  visit(OptionField{"kl_guard", "What keeps logarithms finite", kKlStage}, o.kl.guard);
  visit(OptionField{"kl_precision", "Dtype of target and logarithms", kKlStage}, o.kl.precision);
  visit(OptionField{"kl_detach", "Inputs through which KL does not reach the model (stage joint)",
                    kJointStage},
        o.kl.detach);
  visit(OptionField{"balance_coefficient",
                    "Factor of the routers' balance loss (0: none; stage pretrain: 1e-4)",
                    kModelStage, 0, 1e6},
        o.balance.coefficient);
  visit(OptionField{"balance_routing", "Choice of experts that it counts", kModelStage},
        o.balance.routing);
  visit(OptionField{"balance_scope", "Tokens over which it balances", kModelStage},
        o.balance.scope);
  visit(OptionField{"bias_update_rate",
                    "Step of the routers' biases towards equal load (0: none; pretrain: 1e-3)",
                    kModelStage, 0, 1e6},
        o.bias_update_rate);
  visit(OptionField{"dtype", "Activation dtype; masters and moments are at least float32"},
        o.dtype);
  visit(OptionField{"recipe", "Where bfloat16 is rounded"}, o.recipe);
  visit(OptionField{"recompute_layers",
                    "Keep a layer's input alone and run it again on the way "
                    "back: less memory, the same bits"},
        o.recompute_layers);
  visit(OptionField{"seed", "Decides the order of rows, new adapters and their dropout", kAnyStage,
                    0, 9e15},
        o.seed);
  visit(OptionField{"max_tokens", "Tokens that a row may have (0: max_position_embeddings)"},
        o.max_tokens);
  visit(OptionField{"save_every", "Steps from checkpoint to checkpoint (0: only the last)"},
        o.save_every);
  visit(OptionField{"validate_every", "Steps from validation to validation (0: only the last)"},
        o.validate_every);
}

}  // namespace sparity::train
