#include "src/ops/kl_tiles.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include <algorithm>

namespace sparity::ops {

at::Tensor KlTile::support() const {
  if (target_gathered) {
    return selected;
  }
  if (!keys.defined()) {
    return visible;
  }
  // Columns without a key point at key 0, and say nothing of it.
  return at::zeros(visible.sizes(), at::kInt)
      .scatter_add_(1, keys, selected.to(at::kInt))
      .gt(0)
      .logical_and_(visible);
}

at::Tensor KlTile::on_score_columns(const at::Tensor& target) const {
  if (target_gathered == scores_gathered) {
    return target;
  }
  if (scores_gathered) {
    return target.gather(1, keys).masked_fill_(selected.logical_not(), 0.0);
  }
  return at::zeros(visible.sizes(), target.options()).scatter_add_(1, keys, target);
}

at::Tensor KlTile::on_target_columns(const at::Tensor& x) const {
  const at::Tensor columns =
      target_gathered ? of(x).gather(1, keys) : of(x).narrow(1, 0, visible.size(1));
  return columns.masked_fill(support().logical_not(), 0.0);
}

KlTiling::KlTiling(const KeyMask& mask, const at::Tensor& selected, const core::KlOptions& options,
                   std::int64_t tile_rows)
    : mask_(mask),
      selected_(selected),
      target_gathered_(selected.defined() && options.target == core::KlTarget::kSelected),
      scores_gathered_(selected.defined() && options.support == core::KlSupport::kSelected),
      tile_rows_(tile_rows) {}

KlTile KlTiling::tile(std::int64_t b, std::int64_t number) const {
  KlTile tile;
  tile.b = b;
  tile.row0 = number * tile_rows_;
  tile.rows = std::min(tile_rows_, mask_.tokens() - tile.row0);
  tile.target_gathered = target_gathered_;
  tile.scores_gathered = scores_gathered_;
  if (selected_.defined()) {
    const at::Tensor selected = tile.of(selected_);
    tile.keys = selected.clamp_min(0);
    tile.selected = selected.ge(0);
  }
  if (!target_gathered_ || !scores_gathered_) {
    const std::int64_t reachable = tile.row0 + tile.rows;
    tile.visible = at::empty({tile.rows, reachable}, at::kBool);
    bool* row = tile.visible.mutable_data_ptr<bool>();
    for (std::int64_t s = tile.row0; s < reachable; ++s, row += reachable) {
      mask_.row(b, s, reachable, row);
    }
  }
  return tile;
}

}  // namespace sparity::ops
