#include "io/image.h"

#include <jpeglib.h>
#include <png.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <fstream>
#include <string>

#include "core/check.h"

namespace saccade::io {
namespace {

constexpr auto kWhere = "image";
constexpr int kChannels = 3;
constexpr std::uint64_t kMaxExtent = 16384;
constexpr std::uint64_t kMaxPixels = std::uint64_t{1} << 26;

using Bytes = std::span<const std::uint8_t>;

[[noreturn]] void fail_corrupt(std::string_view name, std::string_view why) {
  fail(kWhere, name, " is corrupt or truncated: ", why);
}

/// Makes room for the pixels, once a header has told their number.
Image make_image(std::string_view name, std::uint64_t height, std::uint64_t width) {
  SACCADE_CHECK(height > 0 && width > 0, kWhere, name, " is ", width, " x ", height,
                ": it holds no pixels");
  SACCADE_CHECK(height <= kMaxExtent && width <= kMaxExtent && height * width <= kMaxPixels, kWhere,
                name, " is ", width, " x ", height, ", above the limits of ", kMaxExtent,
                " for a side and ", kMaxPixels, " for the pixels");
  return {int(height), int(width), std::vector<std::uint8_t>(height * width * kChannels)};
}

/// libjpeg's decoder. Its callbacks throw through libjpeg, whose frames carry unwind tables on
/// every platform that this project builds for.
class JpegDecoder {
 public:
  JpegDecoder(Bytes file, std::string_view name) : name_(name) {
    jpeg_.err = jpeg_std_error(&errors_);
    errors_.error_exit = throw_error;
    errors_.emit_message = throw_warning;
    jpeg_.client_data = this;
    jpeg_create_decompress(&jpeg_);
    jpeg_mem_src(&jpeg_, file.data(), file.size());
  }
  ~JpegDecoder() { jpeg_destroy_decompress(&jpeg_); }
  JpegDecoder(const JpegDecoder&) = delete;
  JpegDecoder& operator=(const JpegDecoder&) = delete;

  Image decode() {
    jpeg_read_header(&jpeg_, TRUE);
    SACCADE_CHECK(jpeg_.num_components != 1, kWhere, name_, " is greyscale", kWanted);
    SACCADE_CHECK(jpeg_.num_components != 4, kWhere, name_, " is CMYK", kWanted);
    SACCADE_CHECK(jpeg_.num_components == kChannels, kWhere, name_, " has ", jpeg_.num_components,
                  " components", kWanted);
    SACCADE_CHECK(jpeg_.data_precision == 8, kWhere, name_, " has ", jpeg_.data_precision,
                  " bits per component", kWanted);
    Image image = make_image(name_, jpeg_.image_height, jpeg_.image_width);

    progress_.progress_monitor = limit_scans;
    jpeg_.progress = &progress_;
    jpeg_.out_color_space = JCS_RGB;
    jpeg_start_decompress(&jpeg_);
    while (jpeg_.output_scanline < jpeg_.output_height) {
      JSAMPROW row =
          image.pixels.data() + std::size_t(jpeg_.output_scanline) * jpeg_.output_width * kChannels;
      jpeg_read_scanlines(&jpeg_, &row, 1);
    }
    jpeg_finish_decompress(&jpeg_);
    return image;
  }

 private:
  static constexpr auto kWanted = "; a JPEG must be 8-bit RGB";

  [[noreturn]] static void throw_error(j_common_ptr jpeg) {
    char message[JMSG_LENGTH_MAX];
    jpeg->err->format_message(jpeg, message);
    fail_corrupt(static_cast<JpegDecoder*>(jpeg->client_data)->name_, message);
  }

  /// libjpeg only warns when data ends early or makes no sense, and fills in grey.
  static void throw_warning(j_common_ptr jpeg, int level) {
    if (level < 0) throw_error(jpeg);
  }

  /// A progressive file of a few kilobytes can ask for thousands of passes over the picture.
  static void limit_scans(j_common_ptr jpeg) {
    constexpr int kMaxScans = 200;
    const int scans = reinterpret_cast<j_decompress_ptr>(jpeg)->input_scan_number;
    const auto& name = static_cast<JpegDecoder*>(jpeg->client_data)->name_;
    SACCADE_CHECK(scans <= kMaxScans, kWhere, name, " has more than ", kMaxScans, " scans");
  }

  std::string name_;
  jpeg_error_mgr errors_{};
  jpeg_progress_mgr progress_{};
  jpeg_decompress_struct jpeg_{};
};

/// libpng's decoder. Its callbacks throw through libpng, as JpegDecoder's do.
class PngDecoder {
 public:
  PngDecoder(Bytes file, std::string_view name) : name_(name), rest_(file) {
    png_ = png_create_read_struct(PNG_LIBPNG_VER_STRING, this, throw_error, ignore_warning);
    info_ = png_ ? png_create_info_struct(png_) : nullptr;
    SACCADE_CHECK(info_, kWhere, name_, " could not be read: libpng did not start");
    png_set_read_fn(png_, this, read);
    png_set_crc_action(png_, PNG_CRC_ERROR_QUIT, PNG_CRC_ERROR_QUIT);
  }
  ~PngDecoder() { png_destroy_read_struct(&png_, &info_, nullptr); }
  PngDecoder(const PngDecoder&) = delete;
  PngDecoder& operator=(const PngDecoder&) = delete;

  Image decode() {
    png_read_info(png_, info_);
    const bool has_palette = check_format();
    Image image =
        make_image(name_, png_get_image_height(png_, info_), png_get_image_width(png_, info_));
    png_set_packing(png_);
    png_set_interlace_handling(png_);
    png_read_update_info(png_, info_);

    const std::size_t row_bytes = std::size_t(image.width) * (has_palette ? 1 : kChannels);
    SACCADE_CHECK(png_get_rowbytes(png_, info_) == row_bytes, kWhere, name_, " has rows of ",
                  png_get_rowbytes(png_, info_), " bytes where ", row_bytes, " are expected");
    std::vector<std::uint8_t> indices(has_palette ? row_bytes * std::size_t(image.height) : 0);
    std::uint8_t* target = has_palette ? indices.data() : image.pixels.data();
    std::vector<png_bytep> rows;
    for (int y = 0; y < image.height; ++y) rows.push_back(target + std::size_t(y) * row_bytes);
    png_read_image(png_, rows.data());
    png_read_end(png_, nullptr);
    if (has_palette) expand(indices, image);
    return image;
  }

 private:
  /// True for a palette, false for RGB; all else is refused.
  bool check_format() {
    constexpr auto kWanted = "; a PNG must be 8-bit RGB or have a palette";
    const int color = png_get_color_type(png_, info_);
    const int bits = png_get_bit_depth(png_, info_);
    SACCADE_CHECK((color & PNG_COLOR_MASK_ALPHA) == 0, kWhere, name_, " has alpha", kWanted);
    SACCADE_CHECK((color & PNG_COLOR_MASK_COLOR) != 0, kWhere, name_, " is greyscale", kWanted);
    SACCADE_CHECK(bits <= 8, kWhere, name_, " has ", bits, " bits per component", kWanted);
    SACCADE_CHECK(!png_get_valid(png_, info_, PNG_INFO_tRNS), kWhere, name_,
                  " has transparent pixels", kWanted, " without transparency");
    return color == PNG_COLOR_TYPE_PALETTE;
  }

  // libpng's own expansion takes an index beyond the palette for black.
  void expand(const std::vector<std::uint8_t>& indices, Image& image) {
    png_colorp palette = nullptr;
    int colors = 0;
    png_get_PLTE(png_, info_, &palette, &colors);
    std::uint8_t* pixel = image.pixels.data();
    for (int index : indices) {
      if (index >= colors) fail_corrupt(name_, "a pixel lies beyond the palette");
      *pixel++ = palette[index].red;
      *pixel++ = palette[index].green;
      *pixel++ = palette[index].blue;
    }
  }

  [[noreturn]] static void throw_error(png_structp png, png_const_charp message) {
    fail_corrupt(static_cast<PngDecoder*>(png_get_error_ptr(png))->name_, message);
  }

  /// libpng warns of oddities in side information, such as colour profiles, that no pixel needs.
  static void ignore_warning(png_structp, png_const_charp) {}

  static void read(png_structp png, png_bytep target, std::size_t count) {
    Bytes& rest = static_cast<PngDecoder*>(png_get_io_ptr(png))->rest_;
    if (count > rest.size()) png_error(png, "the file ends too early");
    std::memcpy(target, rest.data(), count);
    rest = rest.subspan(count);
  }

  std::string name_;
  Bytes rest_;
  png_structp png_ = nullptr;
  png_infop info_ = nullptr;
};

template <std::size_t count>
bool starts_with(Bytes file, const std::array<std::uint8_t, count>& magic) {
  return file.size() >= count && std::equal(magic.begin(), magic.end(), file.begin());
}

}  // namespace

Image decode_image(Bytes file, std::string_view name) {
  constexpr std::array<std::uint8_t, 3> kJpeg{0xff, 0xd8, 0xff};
  constexpr std::array<std::uint8_t, 8> kPng{0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'};
  SACCADE_CHECK(!file.empty(), kWhere, name, " is empty");
  if (starts_with(file, kJpeg)) return JpegDecoder(file, name).decode();
  if (starts_with(file, kPng)) return PngDecoder(file, name).decode();
  fail(kWhere, name, " is neither a JPEG nor a PNG file");
}

Image read_image(const std::filesystem::path& path) {
  std::error_code error;
  SACCADE_CHECK(std::filesystem::exists(path, error), kWhere, path.string(), " does not exist");
  SACCADE_CHECK(std::filesystem::is_regular_file(path, error), kWhere, path.string(),
                " is not a file");
  std::ifstream stream(path, std::ios::binary);
  SACCADE_CHECK(stream, kWhere, path.string(), " cannot be opened");
  std::vector<std::uint8_t> bytes(std::filesystem::file_size(path, error));
  stream.read(reinterpret_cast<char*>(bytes.data()), std::streamsize(bytes.size()));
  SACCADE_CHECK(!error && stream, kWhere, path.string(), " cannot be read");
  return decode_image(bytes, path.string());
}

}  // namespace saccade::io
