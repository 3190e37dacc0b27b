#pragma once

// The launchers, which tests may tell other grids than their own.

#include "argmax.cuh"
#include "gradient.cuh"
#include "loss.cuh"

namespace scrn::classify::cuda {

// `keeps`: for a loss with its gradient, or for a backward.
template <typename T>
size_t loss_workspace(const ResizeShape& shape, bool keeps, const LossOptions& options = {}) {
  size_t bytes = 0;
  Cut cut;
  lay_out<T, Accumulate<T>>(shape, keeps, options, nullptr, &bytes, &cut);
  return bytes;
}

template <typename T>
void launch_prepare(const ResizeShape& s, const void* logits, const void* weight, double smoothing,
                    bool scales, const Workspace<Accumulate<T>>& w, cudaStream_t stream,
                    const LaunchOptions& options) {
  using A = Accumulate<T>;
  const double pixels = std::max(1.0, static_cast<double>(s.out_h) / s.in_h) *
                        std::max(1.0, static_cast<double>(s.out_w) / s.in_w);
  auto* prepare = prepare_kernel<A>;
  SCRN_LAUNCH(prepare, dim3(1), kThreads, 0, stream, static_cast<const A*>(weight), s.classes,
              smoothing, pixels, scales, axis_of(s.in_h, s.out_h, s.align_corners),
              axis_of(s.in_w, s.out_w, s.align_corners), w);
  const int64_t image = int64_t{s.in_h} * s.in_w, nodes = s.batch * image;
  if (nodes == 0) return;
  auto* maxima = maxima_kernel<T, A>;
  SCRN_LAUNCH(maxima, grid_of(ceil_div(nodes, kThreads), options), kThreads, 0, stream,
              static_cast<const T*>(logits), nodes, steps_of(s), image, s.classes,
              static_cast<T*>(w.maxima));
}

template <typename T, int C>
void launch_gradient_as(const GradientParams& params, const Span& span,
                        const Workspace<Accumulate<T>>& w, cudaStream_t stream,
                        const LaunchOptions& options) {
  using A = Accumulate<T>;
  const ResizeShape& s = params.shape;
  const GradientWork work = gradient_work_of<A>(s, span);
  auto* kernel = gradient_kernel<T, A, C>;
  SCRN_LAUNCH(kernel, warps_of(work.total, options), kThreads, 0, stream, params, steps_of(s),
              axis_of(s.in_h, s.out_h, s.align_corners), axis_of(s.in_w, s.out_w, s.align_corners),
              span, work, w);
}

// Four columns of pixels at once where most cells have more than two.
template <typename T>
void launch_gradient(const GradientParams& params, const Span& span,
                     const Workspace<Accumulate<T>>& w, cudaStream_t stream,
                     const LaunchOptions& options) {
  const ResizeShape& s = params.shape;
  if (s.out_w > 2 * int64_t{s.in_w}) {
    launch_gradient_as<T, 4>(params, span, w, stream, options);
  } else {
    launch_gradient_as<T, 2>(params, span, w, stream, options);
  }
}

template <typename T>
void launch_loss(const CrossEntropyParams& params, const Span& span,
                 const Workspace<Accumulate<T>>& w, cudaStream_t stream,
                 const LaunchOptions& options) {
  const ResizeShape& s = params.shape;
  const Work work = work_of(span.images, span.row1 - span.row0, s.in_w);
  auto* kernel = loss_kernel<T, Accumulate<T>>;
  SCRN_LAUNCH(kernel, warps_of(work.total, options), kThreads, 0, stream, params, steps_of(s),
              axis_of(s.in_h, s.out_h, s.align_corners), axis_of(s.in_w, s.out_w, s.align_corners),
              span, work, w);
}

// What the forward and the backward know of it; `gradient` and `grad_loss` are left out.
template <typename P>
GradientParams gradient_of(const P& params) {
  GradientParams gradient;
  gradient.shape = params.shape;
  gradient.target_type = params.target_type;
  gradient.ignore_index = params.ignore_index;
  gradient.smooths = params.label_smoothing > 0;
  gradient.logits = params.logits;
  gradient.target = params.target;
  return gradient;
}

template <typename T>
int launch_cross_entropy(const CrossEntropyParams& params, void* workspace, cudaStream_t stream,
                         const LossOptions& options = {}) {
  using A = Accumulate<T>;
  const ResizeShape& s = params.shape;
  const bool keeps = params.gradient != nullptr;
  Cut cut;
  const Workspace<A> w = lay_out<T, A>(s, keeps, options, workspace, nullptr, &cut);
  launch_prepare<T>(s, params.logits, params.weight, params.label_smoothing,
                    s.dtype == DType::kHalf, w, stream, options);
  if (!keeps && s.batch > 0) launch_loss<T>(params, everything(s), w, stream, options);
  if (keeps) {
    GradientParams gradient = gradient_of(params);
    gradient.gradient = params.gradient;
    for_spans(s, cut, [&](const Span& span) {
      launch_loss<T>(params, span, w, stream, options);
      launch_gradient<T>(gradient, span, w, stream, options);
    });
  }
  if (params.reduction == Reduction::kNone) return cudaGetLastError();
  auto* finish = finish_kernel<A>;
  SCRN_LAUNCH(finish, dim3(1), kFinishThreads, 0, stream, w, work_of(s).total,
              params.reduction == Reduction::kMean, static_cast<A*>(params.loss),
              params.statistics);
  return cudaGetLastError();
}

template <typename T>
int launch_cross_entropy_backward(const CrossEntropyBackwardParams& params, void* workspace,
                                  cudaStream_t stream, const LossOptions& options = {}) {
  using A = Accumulate<T>;
  const ResizeShape& s = params.shape;
  if (s.batch == 0) return 0;
  Cut cut;
  const Workspace<A> w = lay_out<T, A>(s, true, options, workspace, nullptr, &cut);
  launch_prepare<T>(s, params.logits, params.weight, params.label_smoothing, /*scales=*/false, w,
                    stream, options);
  CrossEntropyParams forward;
  forward.shape = s;
  forward.target_type = params.target_type;
  forward.reduction = Reduction::kNone;
  forward.ignore_index = params.ignore_index;
  forward.logits = params.logits;
  forward.target = params.target;
  forward.weight = params.weight;
  GradientParams gradient = gradient_of(params);
  gradient.grad_loss = params.grad_loss;
  gradient.gradient = params.gradient;
  for_spans(s, cut, [&](const Span& span) {
    launch_loss<T>(forward, span, w, stream, options);
    launch_gradient<T>(gradient, span, w, stream, options);
  });
  return cudaGetLastError();
}

template <typename T>
int launch_scale_gradient(const ScaleGradientParams& params, cudaStream_t stream,
                          const LaunchOptions& options = {}) {
  if (params.count == 0) return 0;
  auto* kernel = scale_kernel<T, Accumulate<T>>;
  const int64_t vectors = ceil_div(params.count, kVector<T>);
  SCRN_LAUNCH(kernel, grid_of(ceil_div(vectors, kThreads), options), kThreads, 0, stream, params);
  return cudaGetLastError();
}

template <typename T>
int launch_argmax(const ArgmaxParams& params, cudaStream_t stream,
                  const LaunchOptions& options = {}) {
  using A = Accumulate<T>;
  const ResizeShape& s = params.shape;
  const Work work = work_of(s);
  if (work.total == 0) return 0;
  const Axis y = axis_of(s.in_h, s.out_h, s.align_corners);
  const Axis x = axis_of(s.in_w, s.out_w, s.align_corners);
  auto* kernel =
      params.confidence != nullptr ? argmax_kernel<T, A, true> : argmax_kernel<T, A, false>;
  SCRN_LAUNCH(kernel, warps_of(work.total, options), kThreads, 0, stream, params, steps_of(s), y, x,
              work);
  return cudaGetLastError();
}

}  // namespace scrn::classify::cuda
