#pragma once

// What Python may call: functions registered by name, which take named integers and addresses.
// Only one translation unit has to know Python.

#include <cstdint>
#include <map>
#include <stdexcept>
#include <string>

namespace cuda_on_cpu {

class Arguments {
 public:
  void set(const std::string& name, int64_t value) { values_[name] = value; }

  int64_t integer(const std::string& name) const {
    const auto found = values_.find(name);
    if (found == values_.end()) throw std::invalid_argument("no argument " + name);
    return found->second;
  }

  template <typename T>
  T* pointer(const std::string& name) const {
    return reinterpret_cast<T*>(integer(name));
  }

 private:
  std::map<std::string, int64_t> values_;
};

// Returns the cudaError_t of a launcher, or another number that Python asks for.
using Entry = int64_t (*)(const Arguments&);

inline std::map<std::string, Entry>& entries() {
  static std::map<std::string, Entry> instance;
  return instance;
}

struct Register {
  Register(const char* name, Entry entry) { entries()[name] = entry; }
};

}  // namespace cuda_on_cpu
