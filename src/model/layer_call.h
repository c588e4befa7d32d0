#pragma once

#include "src/model/block.h"

#include <cstdint>
#include <memory>

namespace sparity::model {

/// One layer of one forward pass, with all it needs to be run again later.
struct LayerCall {
  Block block;
  std::int64_t index = 0;
  std::shared_ptr<const ForwardContext> context;

  /// The layer, its output shown to the probe as "layers.N".
  LayerState run(const LayerState& state, const tensors::Probe& probe, LayerLosses& losses) const;
};

/// The same, recording no gradients and keeping the state alone; the backward pass runs the layer a
/// second time, with `probe.again()`, and differentiates that. Bits of values and gradients are
/// those of `run`. What the probe's sink refers to must live until then.
LayerState run_recomputed(const LayerCall& call, const LayerState& state,
                          const tensors::Probe& probe, LayerLosses& losses);

}  // namespace sparity::model
