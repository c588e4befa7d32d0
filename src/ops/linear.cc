#include "src/ops/linear.h"

#include "src/core/error.h"
#include "src/core/fault.h"
#include "src/ops/dispatch.h"
#include "src/ops/parallel.h"
#include "src/tensors/at_dtype.h"

#include <ATen/ops/linear.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/zeros.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>

namespace sparity::ops {

namespace {

using core::Fault;
using core::planted;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

/// Channels that one share of the scatter takes.
constexpr std::int64_t kChannels = 64;

/// sum[ids[n], :] += rows[n, :] in order of n, each share of the channels by one thread.
template <typename W>
void scatter_rows(const std::int64_t* ids, const W* rows, std::int64_t count, std::int64_t width,
                  W* sum) {
  const bool overwrite = planted(Fault::kF84RepeatedTokenOverwrites);
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

double scaling_of(const tensors::LowRankPair& pair) {
  return planted(Fault::kF28AlphaNotDivided) ? pair.scaling * static_cast<double>(pair.a.size(0))
                                             : pair.scaling;
}

/// drop(x), x in f32(A).
at::Tensor dropped(const at::Tensor& x, const tensors::LowRankPair& pair,
                   const std::optional<tensors::DropoutDraw>& draw) {
  const bool always = planted(Fault::kF32DropoutInEvaluation);
  if (pair.dropout == 0.0 || (!draw && !always)) {
    return x;
  }
  const at::Tensor mask =
      tensors::dropout_mask(pair, draw.value_or(tensors::DropoutDraw()), x.sizes());
  return x.mul(mask).div(1.0 - pair.dropout);
}

/// y + Σ scaling · (drop(x) · Aᵀ) · Bᵀ, in f32(A), in y's dtype.
at::Tensor with_pairs(const at::Tensor& y, const at::Tensor& x, const LinearWeight& weight,
                      const std::optional<tensors::DropoutDraw>& draw) {
  if (weight.pairs.empty()) {
    return y;
  }
  const at::ScalarType wide = tensors::at_least_f32(x.scalar_type());
  const at::Tensor seen = x.to(wide);
  at::Tensor sum = y.to(wide);
  for (const tensors::LowRankPair& pair : weight.pairs) {
    tensors::LowRankPair used = pair;
    if (planted(Fault::kF31GradientOfTheOtherAdapter)) {
      const tensors::LowRankPair& first = weight.pairs.front();
      used.a = first.a.add(pair.a.sub(first.a).detach());
      used.b = first.b.add(pair.b.sub(first.b).detach());
    }
    const at::Tensor input = dropped(seen, pair, draw);
    const at::Tensor change =
        planted(Fault::kF29AdapterFactorsSwapped)
            ? at::linear(input, at::mm(used.a.t(), used.b.t()).reshape(weight.base.sizes()))
            : at::linear(at::linear(input, used.a), used.b);
    sum = sum.add(change.mul(scaling_of(pair)));
  }
  return sum.to(y.scalar_type());
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

at::Tensor linear(const at::Tensor& x, const LinearWeight& weight,
                  const std::optional<tensors::DropoutDraw>& draw) {
  SPARITY_CHECK(x.scalar_type() == weight.base.scalar_type(),
                "linear: x and weight differ in dtype");
  return with_pairs(at::linear(x, weight.base), x, weight, draw);
}

at::Tensor wide_linear(const at::Tensor& x, const LinearWeight& weight,
                       const std::optional<tensors::DropoutDraw>& draw) {
  const at::ScalarType wide = tensors::at_least_f32(x.scalar_type());
  return with_pairs(at::linear(x.to(wide), weight.base.to(wide)), x, weight, draw);
}

at::Tensor effective_weight(const LinearWeight& weight) {
  if (weight.pairs.empty()) {
    return weight.base;
  }
  at::Tensor sum = weight.base.to(tensors::at_least_f32(weight.base.scalar_type()));
  for (const tensors::LowRankPair& pair : weight.pairs) {
    const at::Tensor change = at::mm(pair.b, pair.a).mul(scaling_of(pair));
    sum = sum.add(planted(Fault::kF30AdapterGraphSevered) ? change.detach() : change);
  }
  return sum;
}

std::vector<at::Tensor> terms_of(const LinearWeight& weight) {
  std::vector<at::Tensor> terms = {weight.base};
  for (const tensors::LowRankPair& pair : weight.pairs) {
    terms.insert(terms.end(), {pair.a, pair.b});
  }
  return terms;
}

LinearGradients linear_backward(const at::Tensor& x, const LinearWeight& weight,
                                const at::Tensor& dy) {
  const at::ScalarType wide = tensors::at_least_f32(x.scalar_type());
  LinearGradients gradients{at::mm(dy, weight.base), {}};
  gradients.terms.push_back(weight.base.requires_grad() ? at::mm(dy.t(), x) : at::Tensor());
  if (weight.pairs.empty()) {
    return gradients;
  }
  const at::Tensor seen = x.to(wide);
  const at::Tensor arrived = dy.to(wide);
  for (const tensors::LowRankPair& pair : weight.pairs) {
    const at::Tensor back = arrived.mul(scaling_of(pair));
    const at::Tensor inner = at::mm(back, pair.b);  // [N, rank]
    gradients.x = gradients.x.to(wide).addmm_(inner, pair.a);
    gradients.terms.push_back(pair.a.requires_grad() ? at::mm(inner.t(), seen) : at::Tensor());
    gradients.terms.push_back(pair.b.requires_grad() ? at::mm(back.t(), at::mm(seen, pair.a.t()))
                                                     : at::Tensor());
  }
  return gradients;
}

at::Tensor embedding(const at::Tensor& ids, const at::Tensor& table) {
  return Embedding::apply(ids.contiguous(), table);
}

}  // namespace sparity::ops
