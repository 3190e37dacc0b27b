#include "entries.h"
#include "srm/cuda/sample_forward.cuh"

namespace {

using namespace scrn_on_cpu;

const Register kSampleForward("sample_forward", [](const Arguments& a) -> int64_t {
  scrn::SampleForwardParams p;
  p.shape = shape(a);
  p.offset_dtype = dtype(a, "offset_dtype");
  p.mask_dtype = dtype(a, "mask_dtype");
  p.mask_is_logits = a.integer("logits") != 0;
  p.input = a.pointer<const void>("input");
  p.offset = a.pointer<const void>("offset");
  p.mask = a.pointer<const void>("mask");
  p.skip = a.pointer<const void>("skip");
  p.output = a.pointer<void>("output");
  p.aggregated = a.pointer<void>("aggregated");
  return for_dtype(p.shape.dtype, [&](auto* type) -> int64_t {
    using T = std::remove_pointer_t<decltype(type)>;
    return scrn::cuda::launch_sample_forward<T>(p, nullptr, launch_options(a));
  });
});

}  // namespace
