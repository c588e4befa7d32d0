#pragma once

#include "suites/judge/record.h"

#include <vector>

namespace sparity::judge {

/// At most this share of what is allowed is far from failing.
inline constexpr double kComfortable = 0.5;

/// Holds, and is at most `kComfortable` of its limit.
bool is_comfortable(const Gate& gate);

/// Whether nothing of it is worth more than its gates' figures: each gate is comfortable as rounded
/// by `condensed`, and it carries neither evidence nor a reason why it decides nothing.
bool held_comfortably(const Comparison& comparison);

/// What a journal and a report keep of a comparison. Of one that held comfortably: tensor, dtype,
/// shape and gates without notes, their sides rounded to three significant decimal digits, which
/// changes no decision. Of one that passed otherwise: all but the notes of comfortable gates. Of
/// one that failed: everything. Condensing again changes nothing.
Comparison condensed(Comparison comparison);
void condense(std::vector<Comparison>& comparisons);

}  // namespace sparity::judge
