#include "reports/performance.h"

#include <algorithm>

namespace sparity::reports {

double total_seconds(const std::vector<OpTime>& ops) {
  double total = 0;
  for (const OpTime& op : ops) {
    total += op.seconds();
  }
  return total;
}

Roofline roofline_of(const OpTime& op, const BenchRun& bench) {
  double products = 0;
  double moving = 0;
  const auto add = [&](double flops, double bytes) {
    const double multiplied = flops / bench.gemm_flops_per_second;
    const double moved = bytes / bench.copy_bytes_per_second;
    (multiplied >= moved ? products : moving) += std::max(multiplied, moved);
  };
  add(op.forward_flops, op.forward_bytes);
  add(op.backward_flops, op.backward_bytes);
  return {products + moving, products >= moving};
}

}  // namespace sparity::reports
