#include "suites/selection/key_choice.h"

#include "reference/model/indexer.h"
#include "reference/model/mask.h"
#include "src/ops/indexer.h"
#include "src/tensors/recorder.h"

namespace sparity::suites {

namespace reference = sparity::reference::model;

cases::Outputs candidate_choice(const cases::TensorMap& operands, const tensors::Inputs& inputs,
                                std::int64_t k) {
  tensors::Recorder recorder({"indexer.scores"});
  const at::Tensor indices =
      ops::select_keys({.q = operands.at("q"), .k = operands.at("k"), .weights = operands.at("w")},
                       ops::KeyMask(inputs), k, tensors::Probe(&recorder).scope("indexer"));
  const at::Tensor unprobed =
      ops::select_keys({.q = operands.at("q"), .k = operands.at("k"), .weights = operands.at("w")},
                       ops::KeyMask(inputs), k, {});
  return {{"indexer.topk_indices", indices},
          {"unprobed.indexer.topk_indices", unprobed},
          {"indexer.scores", recorder.captured().at("indexer.scores")}};
}

cases::Outputs reference_choice(const cases::TensorMap& operands, const tensors::Inputs& inputs,
                                std::int64_t k) {
  const at::Tensor scores = reference::index_scores(
      operands.at("q"), operands.at("k"), operands.at("w"), reference::valid_pairs(inputs));
  const at::Tensor indices = reference::topk_indices(scores, k);
  return {{"indexer.topk_indices", indices},
          {"unprobed.indexer.topk_indices", indices},
          {"indexer.scores", scores}};
}

}  // namespace sparity::suites
