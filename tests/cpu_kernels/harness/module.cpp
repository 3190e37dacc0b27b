// What Python calls by ctypes: the registered entries, and the order in which tasks are run.

#include "module.h"

#include <algorithm>
#include <cstdio>
#include <exception>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#define EXPORT extern "C" __attribute__((visibility("default")))

namespace cpu_kernels {
namespace {

enum Order : int { kAtOnce, kReverse, kRandom };
Order order = kAtOnce;
uint64_t seed = 0;

// Tasks must not depend on each other: at once as one range, or one by one in any order.
void parallel_for(void*, int64_t count, void (*body)(void*, int64_t, int64_t), void* state) {
  if (order == kAtOnce) return body(state, 0, count);
  std::vector<int64_t> tasks(static_cast<size_t>(count));
  std::iota(tasks.rbegin(), tasks.rend(), 0);
  if (order == kRandom) std::shuffle(tasks.begin(), tasks.end(), std::mt19937_64(seed));
  for (const int64_t task : tasks) body(state, task, task + 1);
}

}  // namespace

scrn::cpu::Threads threads() { return {parallel_for, nullptr}; }

}  // namespace cpu_kernels

EXPORT void cpu_kernels_set_order(int order, uint64_t seed) {
  cpu_kernels::order = static_cast<cpu_kernels::Order>(order);
  cpu_kernels::seed = seed;
}

// Returns false with a message where the entry throws.
EXPORT bool cpu_kernels_call(const char* name, const char* const* keys, const int64_t* values,
                             int count, int64_t* result, char* message, size_t size) {
  try {
    cuda_on_cpu::Arguments arguments;
    for (int i = 0; i < count; ++i) arguments.set(keys[i], values[i]);
    *result = cuda_on_cpu::entries().at(name)(arguments);
    return true;
  } catch (const std::exception& error) {
    std::snprintf(message, size, "%s: %s", name, error.what());
    return false;
  }
}
