// Shared memory of a block and device buffers, both between patterns that must stay as they are.

#include <sys/mman.h>

#include <algorithm>
#include <cstdio>
#include <new>

#include "sanitizers.h"
#include "scheduler.h"

namespace cuda_on_cpu {
namespace {

constexpr size_t kPage = 4096;
constexpr size_t kCanary = kPage;
constexpr size_t kArenaBytes = 1 << 20;
constexpr int kMaxArrays = 64;
constexpr size_t kStaticLimit = 48 << 10, kTotalLimit = 227 << 10;
// NaN in every floating-point type.
constexpr auto kPattern = std::byte{0xff};

struct Array {
  const void* key;
  const char* name;
  std::byte* data;
  size_t bytes;
};

struct Arena {
  std::byte* begin = nullptr;
  size_t used = 0;        // end of the last array
  size_t filled = 0;      // end of the pattern behind it
  size_t high_water = 0;  // of `filled`, in any block
};

Arena arenas[kFiberSets];
Arena* arena = nullptr;
Array arrays[kMaxArrays];
int array_count = 0;
const char kDynamic = 0;

std::byte* map(size_t bytes, void* fixed = nullptr) {
  const int flags =
      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | (fixed != nullptr ? MAP_FIXED : 0);
  void* memory = mmap(fixed, bytes, PROT_READ | PROT_WRITE, flags, -1, 0);
  if (memory == MAP_FAILED) throw std::bad_alloc();
  return static_cast<std::byte*>(memory);
}

// By hand: the sanitizers would take a memset for an access of the running thread.
void overwrite(std::byte* begin, const std::byte* end, std::byte value) {
  const uint64_t word = 0x0101010101010101u * std::to_integer<uint64_t>(value);
  for (volatile std::byte* p = begin; p != end;) {
    if (reinterpret_cast<uintptr_t>(p) % 8 == 0 && end - p >= 8) {
      *reinterpret_cast<volatile uint64_t*>(p) = word;
      p += 8;
    } else {
      *p = value;
      ++p;
    }
  }
}

const std::byte* first_changed(const std::byte* begin, const std::byte* end) {
  return std::find_if(begin, end, [](std::byte value) { return value != kPattern; });
}

std::byte* add_array(const void* key, const char* name, size_t bytes, size_t misalignment) {
  const size_t offset = (arena->used + kCanary + 15) / 16 * 16 + misalignment;
  const size_t end = offset + bytes;
  if (array_count == kMaxArrays || end + kCanary > kArenaBytes) {
    abandon("too many or too large shared arrays");
  }
  std::byte* data = arena->begin + offset;
  arrays[array_count++] = {key, name, data, bytes};
  unpoison(data, bytes);
  overwrite(arena->begin + arena->filled, arena->begin + end + kCanary, kPattern);
  if (options().shared_zero) overwrite(data, data + bytes, std::byte{0});
  arena->used = end;
  arena->filled = end + kCanary;
  arena->high_water = std::max(arena->high_water, (arena->filled + kPage - 1) / kPage * kPage);
  return data;
}

std::vector<Buffer*>& buffers() {
  static std::vector<Buffer*> instance;
  return instance;
}

}  // namespace

void begin_shared_memory(int set, size_t dynamic_bytes) {
  arena = &arenas[set];
  if (arena->begin == nullptr) arena->begin = map(kArenaBytes);
  // Mapped anew by main, the arena carries no accesses of earlier blocks.
  if (kThreadSanitizer && arena->high_water > 0) map(arena->high_water, arena->begin);
  poison(arena->begin, arena->high_water > 0 ? arena->high_water : kArenaBytes);
  arena->used = arena->filled = 0;
  array_count = 0;
  if (dynamic_bytes > 0) add_array(&kDynamic, "dynamic shared memory", dynamic_bytes, 0);
}

void* shared_array(const void* key, size_t bytes, size_t alignment, const char* name) {
  for (int i = 0; i < array_count; ++i) {
    if (arrays[i].key == key) return arrays[i].data;
  }
  // No better aligned than its type asks for, so that a wide access to it shows.
  std::byte* data = add_array(key, name, bytes, alignment < 16 ? 8 : 0);
  if (static_shared_bytes() > kStaticLimit) {
    abandon(describe(scheduler.running) + ": more than 48 KiB of static shared memory");
  }
  if (static_shared_bytes() + scheduler.record.dynamic_shared_bytes > kTotalLimit) {
    abandon(describe(scheduler.running) + ": more than 227 KiB of shared memory");
  }
  return data;
}

void* dynamic_shared(size_t alignment, const char* name) {
  if (array_count == 0 || arrays[0].key != &kDynamic) {
    abandon(describe(scheduler.running) + ": `" + name +
            "` is dynamic shared memory, and the launch gave none");
  }
  if (alignment > 16) {
    abandon(describe(scheduler.running) + ": `" + name + "` needs more than 16 bytes' alignment");
  }
  return arrays[0].data;
}

size_t static_shared_bytes() {
  size_t bytes = 0;
  for (int i = 0; i < array_count; ++i) bytes += arrays[i].key == &kDynamic ? 0 : arrays[i].bytes;
  return bytes;
}

void check_shared_memory() {
  if (kAddressSanitizer) return;  // reports the access itself
  for (int i = 0; i < array_count; ++i) {
    const Array& array = arrays[i];
    const std::byte* end = array.data + array.bytes;
    const std::byte* after = first_changed(end, end + kCanary);
    if (after != end + kCanary) {
      abandon(describe(-1) + ": wrote " + std::to_string(after - end) +
              " bytes behind the end of `" + array.name + "` in shared memory");
    }
    const std::byte* before = first_changed(array.data - kCanary, array.data);
    if (before != array.data) {
      abandon(describe(-1) + ": wrote in front of `" + array.name + "` in shared memory");
    }
  }
}

Buffer* allocate(const std::string& name, size_t bytes, Placement placement, size_t misalignment,
                 bool sparse) {
  const size_t padded = (bytes + misalignment + 15) / 16 * 16;
  const size_t inner = std::max((padded + kPage - 1) / kPage * kPage, kPage);
  std::byte* mapping = map(inner + 2 * kPage);
  if (mprotect(mapping, kPage, PROT_NONE) != 0 ||
      mprotect(mapping + kPage + inner, kPage, PROT_NONE) != 0) {
    throw std::bad_alloc();
  }
  std::byte* begin = mapping + kPage;
  std::byte* data = placement == Placement::kStart ? begin : begin + inner - padded;
  auto* buffer = new Buffer{name, data + misalignment, bytes, mapping, inner + 2 * kPage, true};
  overwrite(begin, sparse ? buffer->data : begin + inner, kPattern);
  if (sparse) overwrite(buffer->data + bytes, begin + inner, kPattern);
  poison(begin, static_cast<size_t>(buffer->data - begin));
  poison(buffer->data + bytes, static_cast<size_t>(begin + inner - buffer->data) - bytes);
  buffers().push_back(buffer);
  return buffer;
}

void release(Buffer* buffer) {
  auto& all = buffers();
  all.erase(std::remove(all.begin(), all.end(), buffer), all.end());
  unpoison(buffer->mapping, buffer->mapping_bytes);
  munmap(buffer->mapping, buffer->mapping_bytes);
  delete buffer;
}

void set_writable(Buffer* buffer, bool writable) {
  const int protection = writable ? PROT_READ | PROT_WRITE : PROT_READ;
  if (mprotect(buffer->mapping + kPage, buffer->mapping_bytes - 2 * kPage, protection) != 0) {
    throw std::bad_alloc();
  }
  buffer->writable = writable;
}

void check_buffers() {
  if (kAddressSanitizer) return;
  for (const Buffer* buffer : buffers()) {
    const std::byte* begin = buffer->mapping + kPage;
    const std::byte* end = buffer->mapping + buffer->mapping_bytes - kPage;
    const std::byte* data_end = buffer->data + buffer->bytes;
    const size_t before = static_cast<size_t>(buffer->data - begin);
    if (before < kPage && first_changed(begin, buffer->data) != buffer->data) {
      abandon("wrote in front of `" + buffer->name + "`");
    }
    const std::byte* after = first_changed(data_end, end);
    if (after != end) {
      abandon("wrote " + std::to_string(after - data_end) + " bytes behind the end of `" +
              buffer->name + "`");
    }
  }
}

Buffer* find_buffer(const void* begin, const void* end) {
  for (Buffer* buffer : buffers()) {
    if (begin >= buffer->data && end <= buffer->data + buffer->bytes) return buffer;
  }
  return nullptr;
}

std::string describe_address(const void* address, bool write) {
  const auto* at = static_cast<const std::byte*>(address);
  std::string text = write ? "write to " : "read of ";
  for (const Buffer* buffer : buffers()) {
    if (at < buffer->mapping || at >= buffer->mapping + buffer->mapping_bytes) continue;
    const auto offset = at - buffer->data;
    const auto bytes = static_cast<ptrdiff_t>(buffer->bytes);
    if (offset >= 0 && offset < bytes) return text + "`" + buffer->name + "`, which is an input";
    text += offset < 0 ? std::to_string(-offset) + " bytes in front of"
                       : std::to_string(offset - bytes) + " bytes behind the end of";
    return text + " `" + buffer->name + "` (" + std::to_string(bytes) + " bytes)";
  }
  char hexadecimal[32];
  std::snprintf(hexadecimal, sizeof(hexadecimal), "%p", address);
  return text + "address " + hexadecimal + ", which no buffer is near, or a misaligned access";
}

}  // namespace cuda_on_cpu
