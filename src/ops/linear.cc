#include "src/ops/linear.h"

#include "src/core/error.h"
#include "src/core/fault.h"
#include "src/ops/dispatch.h"
#include "src/ops/parallel.h"
#include "src/tensors/at_dtype.h"

#include <ATen/ops/linear.h>
#include <ATen/ops/zeros.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>

namespace sparity::ops {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

/// Channels that one share of the scatter takes.
constexpr std::int64_t kChannels = 64;

/// sum[ids[n], :] += rows[n, :] in order of n, each share of the channels by one thread.
template <typename W>
void scatter_rows(const std::int64_t* ids, const W* rows, std::int64_t count, std::int64_t width,
                  W* sum) {
  const bool overwrite = core::planted(core::Fault::kF84RepeatedTokenOverwrites);
  for_each_item((width + kChannels - 1) / kChannels, [=](std::int64_t share) {
    const std::int64_t end = std::min((share + 1) * kChannels, width);
    for (std::int64_t n = 0; n < count; ++n) {
      for (std::int64_t i = share * kChannels; i < end; ++i) {
        W& cell = sum[ids[n] * width + i];
        cell = overwrite ? rows[n * width + i] : cell + rows[n * width + i];
      }
    }
  });
}

struct Embedding : torch::autograd::Function<Embedding> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& ids,
                            const at::Tensor& table) {
    context->save_for_backward({ids});
    context->saved_data["rows"] = table.size(0);
    return table.index_select(0, ids.reshape({-1})).view({ids.size(0), ids.size(1), table.size(1)});
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const at::Tensor ids = context->get_saved_variables()[0];
    const at::ScalarType wide = tensors::at_least_f32(gradients[0].scalar_type());
    const at::Tensor rows = gradients[0].to(wide).contiguous();
    at::Tensor sum = at::zeros({context->saved_data["rows"].toInt(), rows.size(2)}, rows.options());
    dispatch_wide(wide, [&](auto tag) {
      using W = decltype(tag);
      scatter_rows(ids.const_data_ptr<std::int64_t>(), rows.const_data_ptr<W>(), ids.numel(),
                   rows.size(2), sum.mutable_data_ptr<W>());
    });
    return {at::Tensor(), sum.to(gradients[0].scalar_type())};
  }
};

}  // namespace

at::Tensor linear(const at::Tensor& x, const at::Tensor& weight) {
  SPARITY_CHECK(x.scalar_type() == weight.scalar_type(), "linear: x and weight differ in dtype");
  return at::linear(x, weight);
}

at::Tensor wide_linear(const at::Tensor& x, const at::Tensor& weight) {
  const at::ScalarType wide = tensors::at_least_f32(x.scalar_type());
  return at::linear(x.to(wide), weight.to(wide));
}

at::Tensor embedding(const at::Tensor& ids, const at::Tensor& table) {
  return Embedding::apply(ids.contiguous(), table);
}

}  // namespace sparity::ops
