#include "src/ops/absorbed_tile.h"

#include "src/core/fault.h"
#include "src/ops/row_product.h"
#include "src/tensors/at_dtype.h"

#include <ATen/ops/bmm.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include <algorithm>

namespace sparity::ops {

namespace {

/// Numbers in one buffer of a tile, at most: a tile stays in cache.
constexpr std::int64_t kBudget = 1 << 18;
constexpr std::int64_t kMostRows = 64;

}  // namespace

Absorbed::Absorbed(const AttentionOperands& of, const at::Tensor& chosen)
    : operands(of),
      indices(chosen),
      wide(tensors::at_least_f32(of.q_nope.scalar_type())),
      rank(of.kv.size(2)),
      channels(rank + of.k_rot.size(2)) {
  const std::int64_t nope = of.q_nope.size(3);
  const std::int64_t values = of.v_head_dim();
  const at::TensorOptions options = of.kv.options().dtype(wide);
  const at::Tensor up = at::zeros({heads(), nope + values, padded(rank)}, options);
  up.narrow(2, 0, rank).copy_(of.kv_b_proj.view({heads(), nope + values, rank}));
  key_up = up.narrow(1, 0, nope);
  value_up = up.narrow(1, nope, values);
  keys = at::zeros({of.kv.size(0), of.kv.size(1), padded(channels)}, options);
  keys.narrow(2, 0, rank).copy_(of.kv);
  keys.narrow(2, rank, channels - rank).copy_(of.k_rot);
  tile_rows = std::clamp<std::int64_t>(kBudget / (indices.size(2) * padded(heads())), 1, kMostRows);
}

template <typename W>
AbsorbedTile<W>::AbsorbedTile(const Absorbed& layer)
    : layer_(layer),
      pairs_(at::empty({2, layer.tile_rows, layer.indices.size(2), padded(layer.heads())},
                       layer.keys.options())),
      by_channel_(at::zeros({layer.keys.size(2), padded(layer.heads())}, layer.keys.options())) {
  const std::int64_t width = layer.indices.size(2);
  const std::int64_t most = std::max({width, layer.heads(), layer.keys.size(2)});
  chosen_.reserve(static_cast<std::size_t>(width));
  keys_.reserve(static_cast<std::size_t>(width));
  left_.resize(static_cast<std::size_t>(most));
  right_.resize(static_cast<std::size_t>(most));
  out_.resize(static_cast<std::size_t>(most));
}

template <typename W>
void AbsorbedTile<W>::move_to(std::int64_t item) {
  const AttentionOperands& operands = layer_.operands;
  b_ = item / layer_.tiles();
  row0_ = item % layer_.tiles() * layer_.tile_rows;
  rows_ = std::min(layer_.tile_rows, operands.q_nope.size(1) - row0_);
  q_nope_ = of(operands.q_nope).to(layer_.wide).transpose(0, 1);
  q_ = at::zeros({layer_.heads(), rows_, layer_.keys.size(2)}, layer_.keys.options());
  q_.narrow(2, 0, layer_.rank).copy_(at::bmm(q_nope_, layer_.key_up.narrow(2, 0, layer_.rank)));
  q_.narrow(2, layer_.rank, layer_.channels - layer_.rank)
      .copy_(of(operands.q_rot).transpose(0, 1));
}

template <typename W>
void AbsorbedTile<W>::look_up(std::int64_t r) {
  const std::int64_t width = layer_.indices.size(2);
  const std::int64_t row = b_ * layer_.indices.size(1) + row0_ + r;
  const auto* index = layer_.indices.const_data_ptr<std::int64_t>() + row * width;
  const W* first = layer_.keys.const_data_ptr<W>() + b_ * layer_.keys.stride(0);
  chosen_.clear();
  keys_.clear();
  for (std::int64_t i = 0; i < width; ++i) {
    if (index[i] >= 0) {
      chosen_.push_back(index[i]);
      keys_.push_back(first + index[i] * layer_.keys.size(2));
    }
  }
}

template <typename W>
void AbsorbedTile<W>::dot_keys(const at::Tensor& x, std::int64_t terms, double none,
                               const at::Tensor& out) {
  const std::int64_t heads = padded_heads();
  const std::int64_t row_size = out.size(1) * heads;
  W* by_channel = by_channel_.mutable_data_ptr<W>();
  for (std::int64_t c = 0; c < terms; ++c) {
    right_[static_cast<std::size_t>(c)] = by_channel + c * heads;
  }
  for (std::int64_t r = 0; r < rows_; ++r) {
    look_up(r);
    for (std::int64_t h = 0; h < layer_.heads(); ++h) {
      const W* in = x.const_data_ptr<W>() + (h * rows_ + r) * x.size(2);
      for (std::int64_t c = 0; c < terms; ++c) {
        by_channel[c * heads + h] = in[c];
      }
    }
    W* cell = out.mutable_data_ptr<W>() + r * row_size;
    const std::int64_t count = std::ssize(keys_);
    for (std::int64_t j = 0; j < count; ++j) {
      out_[static_cast<std::size_t>(j)] = cell + j * heads;
    }
    row_product(keys_.data(), 1, right_.data(), out_.data(), count, terms, heads, false);
    std::fill(cell + count * heads, cell + row_size, static_cast<W>(none));
  }
}

template <typename W>
at::Tensor AbsorbedTile<W>::sum_keys(const at::Tensor& weights, std::int64_t columns) {
  at::Tensor sums = at::empty({layer_.heads(), rows_, columns}, weights.options());
  const std::int64_t row_size = weights.size(1) * padded_heads();
  for (std::int64_t r = 0; r < rows_; ++r) {
    look_up(r);
    for (std::int64_t h = 0; h < layer_.heads(); ++h) {
      left_[static_cast<std::size_t>(h)] = weights.const_data_ptr<W>() + r * row_size + h;
      out_[static_cast<std::size_t>(h)] = sums.mutable_data_ptr<W>() + (h * rows_ + r) * columns;
    }
    row_product(left_.data(), padded_heads(), keys_.data(), out_.data(), layer_.heads(),
                std::ssize(keys_), columns, false);
  }
  return sums;
}

template <typename W>
void AbsorbedTile<W>::add_to_keys(const at::Tensor& weights, const at::Tensor& x,
                                  const at::Tensor& sum) {
  const std::int64_t late = core::planted(core::Fault::kF78KeyGradientOnePlaceLate) ? 1 : 0;
  const std::int64_t row_size = weights.size(1) * padded_heads();
  for (std::int64_t r = 0; r < rows_; ++r) {
    look_up(r);
    for (std::int64_t h = 0; h < layer_.heads(); ++h) {
      right_[static_cast<std::size_t>(h)] = x.const_data_ptr<W>() + (h * rows_ + r) * x.size(2);
    }
    for (std::size_t j = 0; j < chosen_.size(); ++j) {
      left_[j] = weights.const_data_ptr<W>() + r * row_size +
                 static_cast<std::int64_t>(j) * padded_heads();
      out_[j] =
          sum.mutable_data_ptr<W>() + std::min(chosen_[j] + late, sum.size(0) - 1) * sum.size(1);
    }
    row_product(left_.data(), 1, right_.data(), out_.data(), std::ssize(chosen_), layer_.heads(),
                x.size(2), true);
  }
}

template class AbsorbedTile<float>;
template class AbsorbedTile<double>;

}  // namespace sparity::ops
