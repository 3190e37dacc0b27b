// Segments a photo by a package of `scrn export --format aoti`, without Python.
//
//   segment PACKAGE.pt2 PHOTO CLASSES.png [REPEATS]
//
// The photo is a JPEG or a PNG. The result is a PNG of the photo's size whose palette shows the
// classes and whose values are their indices. The package resizes and normalises the photo.
#include <ATen/Parallel.h>
#include <ATen/ops/from_blob.h>
#include <c10/core/InferenceMode.h>
#include <dlfcn.h>
#include <jpeglib.h>
#include <png.h>
#include <torch/csrc/inductor/aoti_package/model_package_loader.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <iostream>
#include <memory>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

struct Photo {
  int64_t height, width;
  std::vector<uint8_t> rgb;
};

using File = std::unique_ptr<FILE, int (*)(FILE*)>;

Photo read_jpeg(FILE* file) {
  jpeg_error_mgr errors;  // Its default is a message and the end of the program.
  jpeg_decompress_struct jpeg;
  jpeg.err = jpeg_std_error(&errors);
  jpeg_create_decompress(&jpeg);
  jpeg_stdio_src(&jpeg, file);
  jpeg_read_header(&jpeg, TRUE);
  jpeg.out_color_space = JCS_RGB;
  jpeg_start_decompress(&jpeg);
  Photo photo{jpeg.output_height, jpeg.output_width, {}};
  photo.rgb.resize(3 * photo.height * photo.width);
  while (jpeg.output_scanline < jpeg.output_height) {
    JSAMPROW row = photo.rgb.data() + 3 * photo.width * jpeg.output_scanline;
    jpeg_read_scanlines(&jpeg, &row, 1);
  }
  jpeg_finish_decompress(&jpeg);
  jpeg_destroy_decompress(&jpeg);
  return photo;
}

Photo read_png(FILE* file, const std::string& path) {
  png_image png{.opaque = nullptr, .version = PNG_IMAGE_VERSION};
  const auto check = [&](int done) {
    if (done == 0) throw std::runtime_error(path + ": " + png.message);
  };
  check(png_image_begin_read_from_stdio(&png, file));
  png.format = PNG_FORMAT_RGB;
  Photo photo{png.height, png.width, std::vector<uint8_t>(PNG_IMAGE_SIZE(png))};
  const png_color black{};
  check(png_image_finish_read(&png, &black, photo.rgb.data(), 0, nullptr));
  return photo;
}

Photo read_photo(const std::string& path) {
  const File file(std::fopen(path.c_str(), "rb"), std::fclose);
  if (!file) throw std::runtime_error(path + ": cannot be opened");
  uint8_t start[2] = {};
  const bool read = std::fread(start, 1, 2, file.get()) == 2;
  std::rewind(file.get());
  if (read && start[0] == 0xff && start[1] == 0xd8) return read_jpeg(file.get());
  if (read && start[0] == 0x89 && start[1] == 'P') return read_png(file.get(), path);
  throw std::runtime_error(path + ": expected a JPEG or a PNG");
}

void write_classes(const std::string& path, const at::Tensor& labels, std::string colors) {
  std::vector<uint8_t> palette;
  std::ranges::replace_if(colors, [](char c) { return c < '0' || c > '9'; }, ' ');  // JSON
  std::istringstream numbers(colors);
  for (int number; numbers >> number;) palette.push_back(static_cast<uint8_t>(number));
  png_image png{.opaque = nullptr, .version = PNG_IMAGE_VERSION};
  png.height = static_cast<png_uint_32>(labels.size(0));
  png.width = static_cast<png_uint_32>(labels.size(1));
  png.format = PNG_FORMAT_RGB_COLORMAP;
  png.colormap_entries = static_cast<png_uint_32>(palette.size() / 3);
  const void* values = labels.const_data_ptr();
  if (!png_image_write_to_file(&png, path.c_str(), 0, values, 0, palette.data()))
    throw std::runtime_error(path + ": " + png.message);
}

void load_operators(const char* name) {
  if (dlopen(name, RTLD_NOW | RTLD_GLOBAL) == nullptr)
    throw std::runtime_error(
        std::string(dlerror()) +
        "; the package's operators, which come with the Python package scrn in "
        "its folder scrn_ops, are expected beside this program or in a folder "
        "of LD_LIBRARY_PATH");
}

void run(const std::vector<std::string>& args) {
  const size_t repeats = args.size() < 5 ? 1 : std::strtoul(args[4].c_str(), nullptr, 10);
  if (repeats == 0) throw std::runtime_error("REPEATS: expected a number from 1, got " + args[4]);
  load_operators("libscrn_ops.so");
  torch::inductor::AOTIModelPackageLoader package(args[1]);
  auto metadata = package.get_metadata();
  if (metadata["AOTI_DEVICE_KEY"] == "cuda") load_operators("libscrn_ops_cuda.so");

  Photo photo = read_photo(args[2]);
  const c10::InferenceMode guard;
  const auto pixels = at::from_blob(photo.rgb.data(), {photo.height, photo.width, 3}, at::kByte);
  at::Tensor labels = package.run({pixels})[0];
  std::cout << args[2] << ": " << photo.height << "x" << photo.width
            << "; height and width in the network: " << metadata["size"] << std::endl;
  std::vector<double> times;
  for (size_t i = 0; i < repeats; ++i) {
    const auto start = std::chrono::steady_clock::now();
    labels = package.run({pixels})[0];
    const std::chrono::duration<double, std::milli> time = std::chrono::steady_clock::now() - start;
    times.push_back(time.count());
  }
  write_classes(args[3], labels, metadata["colors"]);
  std::ranges::nth_element(times, times.begin() + repeats / 2);
  std::cout << times[repeats / 2] << " ms per image, " << at::get_num_threads() << " threads\n";
}

}  // namespace

int main(int argc, char** argv) {
  const std::vector<std::string> args(argv, argv + argc);
  if (argc != 4 && argc != 5) {
    std::cerr << "segment PACKAGE.pt2 PHOTO CLASSES.png [REPEATS]\n";
    return 2;
  }
  try {
    run(args);
  } catch (const c10::Error& error) {
    std::cerr << "segment: " << args[1] << ": " << error.what_without_backtrace() << "\n";
    return 1;
  } catch (const std::exception& error) {
    std::cerr << "segment: " << error.what() << "\n";
    return 1;
  }
}
