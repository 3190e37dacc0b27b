// The Python module: buffers as numpy arrays, options, calls of the registered entries, records.

#include <dlfcn.h>
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include "../runtime/core.h"
#include "../runtime/entries.h"

namespace py = pybind11;

namespace cuda_on_cpu {
namespace {

struct Release {
  void operator()(Buffer* buffer) const { release(buffer); }
};

py::tuple extents(const dim3& value) { return py::make_tuple(value.x, value.y, value.z); }

py::dict describe(const LaunchRecord& record, uintptr_t base) {
  using namespace py::literals;
  return py::dict("expression"_a = record.expression, "kernel"_a = record.kernel - base,
                  "grid"_a = extents(record.grid), "block"_a = extents(record.block),
                  "static_shared_bytes"_a = record.static_shared_bytes,
                  "dynamic_shared_bytes"_a = record.dynamic_shared_bytes,
                  "barriers"_a = record.barriers, "collectives"_a = record.collectives,
                  "atomics"_a = record.atomics, "work"_a = record.work);
}

Order order(const std::string& name) {
  if (name == "forward") return Order::kForward;
  if (name == "reverse") return Order::kReverse;
  if (name == "random") return Order::kRandom;
  throw py::value_error("order: expected forward, reverse or random, got " + name);
}

uintptr_t module_base() {
  Dl_info info;
  if (dladdr(reinterpret_cast<const void*>(&module_base), &info) == 0) return 0;
  return reinterpret_cast<uintptr_t>(info.dli_fbase);
}

int64_t call(const std::string& name, const py::kwargs& values) {
  const auto entry = entries().find(name);
  if (entry == entries().end()) throw py::key_error("no entry " + name);
  Arguments arguments;
  for (const auto& [key, value] : values) {
    const bool buffer = py::isinstance<Buffer>(value);
    const auto integer = buffer ? reinterpret_cast<int64_t>(value.cast<const Buffer&>().data)
                                : value.cast<int64_t>();
    arguments.set(key.cast<std::string>(), integer);
  }
  return entry->second(arguments);
}

}  // namespace
}  // namespace cuda_on_cpu

PYBIND11_MODULE(cuda_on_cpu_module, module) {
  using namespace cuda_on_cpu;
  py::register_local_exception<KernelFault>(module, "KernelFault", PyExc_RuntimeError);
  py::class_<Buffer, std::unique_ptr<Buffer, Release>>(module, "Buffer", py::module_local())
      .def(py::init([](const std::string& name, size_t bytes, const std::string& placement,
                       size_t misalignment, bool sparse) {
             const Placement where = placement == "start" ? Placement::kStart : Placement::kEnd;
             return std::unique_ptr<Buffer, Release>(
                 allocate(name, bytes, where, misalignment, sparse));
           }),
           py::arg("name"), py::arg("bytes"), py::arg("placement") = "end",
           py::arg("misalignment") = 0, py::arg("sparse") = false)
      .def_property_readonly(
          "address", [](const Buffer& self) { return reinterpret_cast<uintptr_t>(self.data); })
      .def("set_writable", [](Buffer& self, bool writable) { set_writable(&self, writable); })
      .def("bytes", [](py::object self) {
        const Buffer& buffer = self.cast<const Buffer&>();
        return py::array_t<uint8_t>({buffer.bytes}, {size_t{1}},
                                    reinterpret_cast<const uint8_t*>(buffer.data), self);
      });
  module.def(
      "set_options",
      [](const std::string& threads, const std::string& blocks, uint64_t seed, double seconds,
         bool shared_zero) {
        options() = {order(threads), order(blocks), seed, seconds, shared_zero};
      },
      py::arg("threads") = "forward", py::arg("blocks") = "forward", py::arg("seed") = 0,
      py::arg("seconds") = 60.0, py::arg("shared_zero") = false);
  module.def("take_records", [] {
    py::list list;
    for (const LaunchRecord& record : records()) list.append(describe(record, module_base()));
    records().clear();
    return list;
  });
  module.def("call", &call);
}
