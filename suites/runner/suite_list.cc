#include "suites/runner/suite_list.h"

#include "suites/attention/attention_cases.h"
#include "suites/block/block_cases.h"
#include "suites/gradients/gradient_cases.h"
#include "suites/indexer/indexer_cases.h"
#include "suites/indexer_loss/indexer_loss_cases.h"
#include "suites/lora/lora_cases.h"
#include "suites/loss/loss_cases.h"
#include "suites/masking/masking_cases.h"
#include "suites/model/model_cases.h"
#include "suites/moe/moe_cases.h"
#include "suites/norm/norm_cases.h"
#include "suites/rope/rope_cases.h"
#include "suites/routing/routing_cases.h"
#include "suites/runner/suite_names.h"
#include "suites/selection/selection_cases.h"
#include "suites/stages/stage_cases.h"
#include "suites/training/training_cases.h"

#include <algorithm>
#include <array>

namespace sparity::runner {

namespace {

constexpr std::array kSuites = {
    Suite{"norm", suites::norm_cases},
    Suite{"rope", suites::rope_cases},
    Suite{"indexer", suites::indexer_cases},
    Suite{"masking", suites::masking_cases},
    Suite{"selection", suites::selection_cases},
    Suite{"attention", suites::attention_cases},
    Suite{"routing", suites::routing_cases},
    Suite{"moe", suites::moe_cases},
    Suite{"block", suites::block_cases},
    Suite{"model", suites::model_cases},
    Suite{"loss", suites::loss_cases},
    Suite{"gradients", suites::gradient_cases},
    Suite{"indexer_loss", suites::indexer_loss_cases},
    Suite{"training", suites::training_cases},
    Suite{"stages", suites::stage_cases},
    Suite{"lora", suites::lora_cases},
};

constexpr bool lists_every_name() {
  return std::ranges::equal(kSuites, kSuiteNames, {}, &Suite::name);
}
static_assert(lists_every_name(), "suite_names.h and this list differ");

}  // namespace

std::span<const Suite> suites() { return kSuites; }

const Suite* find_suite(std::string_view name) {
  const auto found = std::ranges::find(kSuites, name, &Suite::name);
  return found == kSuites.end() ? nullptr : &*found;
}

}  // namespace sparity::runner
