// segment PACKAGE.pt2 PHOTO CLASSES.png [REPEATS]: segments a photo, a JPEG or a PNG, by a package
// of `scrn export --format aoti`, without Python. The result is a PNG of the photo's size whose
// palette shows the classes and whose values are their indices.
#include <ATen/Parallel.h>
#include <ATen/ops/from_blob.h>
#include <c10/core/InferenceMode.h>
#include <dlfcn.h>
#include <jerror.h>
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

void fail(j_common_ptr jpeg) {  // Exceptions do not pass through C.
  char text[JMSG_LENGTH_MAX];
  jpeg->err->format_message(jpeg, text);
  std::cerr << "segment: " << static_cast<const char*>(jpeg->client_data) << ": " << text << "\n";
  std::exit(1);
}

Photo read_jpeg(FILE* file, std::string path) {
  jpeg_error_mgr errors;
  jpeg_decompress_struct jpeg;
  jpeg.err = jpeg_std_error(&errors);
  jpeg.client_data = path.data();
  errors.error_exit = fail;
  errors.emit_message = [](j_common_ptr c, int) {  // The rest of a cut file would be grey.
    if (c->err->msg_code == JWRN_JPEG_EOF) fail(c);
  };
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
  const auto check = [&](bool done, const char* reason) {
    if (!done) throw std::runtime_error(path + ": " + reason);
  };
  check(png_image_begin_read_from_stdio(&png, file), png.message);
  check(!(png.format & PNG_FORMAT_FLAG_LINEAR), "expected 8 bits a channel, found 16");
  png.format = PNG_FORMAT_RGB;
  Photo photo{png.height, png.width, std::vector<uint8_t>(PNG_IMAGE_SIZE(png))};
  const png_color black{};
  check(png_image_finish_read(&png, &black, photo.rgb.data(), 0, nullptr), png.message);
  return photo;
}

Photo read_photo(const std::string& path) {
  const std::unique_ptr<FILE, int (*)(FILE*)> file(std::fopen(path.c_str(), "rb"), std::fclose);
  if (!file) throw std::runtime_error(path + ": cannot be opened");
  const int first = std::getc(file.get());
  std::rewind(file.get());
  if (first == 0xff) return read_jpeg(file.get(), path);
  if (first == 0x89) return read_png(file.get(), path);
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
        "; it comes with the Python package scrn_ops, "
        "and is expected beside this program or in a folder of LD_LIBRARY_PATH");
}

void run(const std::vector<std::string>& args) {
  const int repeats = args.size() < 5 ? 1 : std::atoi(args[4].c_str());
  if (repeats < 1) throw std::runtime_error("REPEATS: expected a number from 1, got " + args[4]);
  load_operators("libscrn_ops.so");
  torch::inductor::AOTIModelPackageLoader package(args[1]);
  auto metadata = package.get_metadata();
  if (metadata["AOTI_DEVICE_KEY"] == "cuda") load_operators("libscrn_ops_cuda.so");

  Photo photo = read_photo(args[2]);
  const c10::InferenceMode guard;
  const auto pixels = at::from_blob(photo.rgb.data(), {photo.height, photo.width, 3}, at::kByte);
  at::Tensor labels = package.run({pixels})[0];
  std::cout << "height and width in the network: " << metadata["size"] << std::endl;
  const auto start = std::chrono::steady_clock::now();
  for (int i = 0; i < repeats; ++i) labels = package.run({pixels})[0];
  const std::chrono::duration<double, std::milli> time = std::chrono::steady_clock::now() - start;
  write_classes(args[3], labels, metadata["colors"]);
  std::cout << time.count() / repeats << " ms per image, " << at::get_num_threads() << " threads\n";
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
