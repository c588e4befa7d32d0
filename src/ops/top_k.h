#pragma once

#include <ATen/core/Tensor.h>

namespace sparity::ops {

/// The k best open entries of every row, exactly, by (score descending, index ascending); −0 equals
/// +0, NaN counts as the largest score (spec D-19). Found by partial selection, then sorted. scores
/// [rows, T] float32 or float64; open Bool [rows, T], true = may be chosen. Returns I64 [rows,
/// min(k, T)], −1 after a row's last open entry (D-17, D-18).
at::Tensor top_k(const at::Tensor& scores, const at::Tensor& open, std::int64_t k);

}  // namespace sparity::ops
