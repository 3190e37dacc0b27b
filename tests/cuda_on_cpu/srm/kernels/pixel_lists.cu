// The scan alone: by the backward it would take more pixels than can be run here to fill two
// rounds.

#include "entries.h"
#include "srm/cuda/pixel_lists.cuh"

namespace {

using namespace scrn_on_cpu;

template <typename Index>
int64_t scan(const Arguments& a) {
  const int64_t rows = a.integer("rows");
  auto* kernel = scrn::srm::cuda::list_scan_kernel<Index>;
  SCRN_LAUNCH(kernel, scrn::srm::cuda::grid_of(rows, launch_options(a)), scrn::srm::cuda::kThreads,
              0, nullptr, a.pointer<Index>("histogram"), a.pointer<Index>("totals"), rows,
              a.integer("tiles"));
  return cudaGetLastError();
}

const Register kScan("list_scan", [](const Arguments& a) -> int64_t {
  return a.integer("index64") != 0 ? scan<int64_t>(a) : scan<int32_t>(a);
});

}  // namespace
