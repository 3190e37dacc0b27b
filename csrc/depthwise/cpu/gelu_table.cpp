// The normal distribution by pieces, for gelu.h.

#include <array>
#include <cmath>

#include "plan.h"

namespace scrn::depthwise::cpu {
namespace {

// Threads may still read it when the process ends: it has no destructor.
using Table = std::array<float, (kGeluDegree + 1) * kGeluPieces>;

Table make_table() {
  Table table = {};
  constexpr double a = kGeluPiece / 2;
  for (int n = 0; n < kGeluPieces - 1; ++n) {
    const double x = kGeluPiece * n, density = 0.39894228040143267794 * std::exp(-x * x / 2);
    double c[] = {0.5 * std::erf(x * 0.70710678118654752440),
                  density,
                  density * -x / 2,
                  density * (x * x - 1) / 6,
                  density * (3 - x * x) * x / 24,
                  density * ((x * x - 6) * x * x + 3) / 120,
                  density * ((10 - x * x) * x * x - 15) * x / 720};
    // The sixth and the fifth power by smaller ones, as the Chebyshev polynomials of their degree
    // are small for |r| <= a: the error is a sixteenth of what it would be without them.
    c[4] += c[6] * 3 / 2 * a * a;
    c[2] -= c[6] * 9 / 16 * std::pow(a, 4);
    c[0] += c[6] / 32 * std::pow(a, 6);
    c[3] += c[5] * 5 / 4 * a * a;
    c[1] -= c[5] * 5 / 16 * std::pow(a, 4);
    for (int k = 0; k <= kGeluDegree; ++k) {
      table[k * kGeluPieces + n] = static_cast<float>(c[k]);
    }
  }
  table[kGeluPieces - 1] = 0.5f;
  return table;
}

}  // namespace

const float* gelu_table() {
  static const Table table = make_table();
  return table.data();
}

}  // namespace scrn::depthwise::cpu
