// JPEG through libjpeg-turbo. The library reports a fatal error by a callback that must not return: it jumps back into the member
// function that called the library, over C frames only, and everything that needs release belongs to the JpegReader.
#include <csetjmp>
#include <cstdio>  // jpeglib.h uses FILE without including it
// clang-format off
#include <jpeglib.h>
#include <jerror.h>
// clang-format on

#include <fmt/format.h>

#include <string>
#include <vector>

#include "runtime/image/codec.h"
#include "runtime/support/log.h"

namespace fcm {
namespace {

/// A progressive file may repeat a scan of the whole image thousands of times; real ones have about ten.
constexpr int kMaxScans = 500;

/// One file being read. Each step returns false after a fatal error, whose text is then in error().
class JpegReader {
 public:
  explicit JpegReader(std::span<const std::byte> bytes) : bytes_(bytes) {
    info_.err = jpeg_std_error(&errors_);
    errors_.error_exit = &JpegReader::on_error;
    errors_.emit_message = &JpegReader::on_message;
    info_.client_data = this;
  }
  ~JpegReader() { jpeg_destroy_decompress(&info_); }
  JpegReader(const JpegReader&) = delete;
  JpegReader& operator=(const JpegReader&) = delete;

  bool read_header();
  /// After read_header: chooses the output form, and allocates what the library needs.
  bool start();
  /// Decodes line `y` = 0, 1, ... in order into `line` (width * components() bytes).
  bool read_line(uint8_t* line);

  int64_t width() const { return info_.image_width; }
  int64_t height() const { return info_.image_height; }
  int components() const { return info_.output_components; }
  /// The data ended before the image did; libjpeg fills the rest with grey.
  bool truncated() const { return truncated_; }
  const std::string& warning() const { return warning_; }
  const std::string& error() const { return error_; }

 private:
  static JpegReader& self(j_common_ptr info) { return *static_cast<JpegReader*>(info->client_data); }
  static std::string message(j_common_ptr info) {
    char text[JMSG_LENGTH_MAX] = {};
    info->err->format_message(info, text);
    return text;
  }
  [[noreturn]] static void on_error(j_common_ptr info) {
    self(info).error_ = message(info);
    std::longjmp(self(info).jump_, 1);  // NOLINT(cert-err52-cpp): the only way out of libjpeg; no destructor is skipped
  }
  static void on_message(j_common_ptr info, int level) {
    if (level >= 0) return;
    if (info->err->msg_code == JWRN_JPEG_EOF) self(info).truncated_ = true;
    if (self(info).warning_.empty()) self(info).warning_ = message(info);
  }
  static void on_progress(j_common_ptr info) {
    auto* decompress = reinterpret_cast<j_decompress_ptr>(info);
    if (decompress->input_scan_number <= kMaxScans) return;
    self(info).error_ = fmt::format("more than {} scans", kMaxScans);
    std::longjmp(self(info).jump_, 1);  // NOLINT(cert-err52-cpp)
  }

  std::span<const std::byte> bytes_;
  jpeg_decompress_struct info_ = {};
  jpeg_error_mgr errors_ = {};
  jpeg_progress_mgr progress_ = {};
  std::jmp_buf jump_ = {};
  bool truncated_ = false;
  std::string warning_;
  std::string error_;
};

bool JpegReader::read_header() {
  if (setjmp(jump_) != 0) return false;  // NOLINT(cert-err52-cpp)
  jpeg_create_decompress(&info_);
  progress_.progress_monitor = &JpegReader::on_progress;
  info_.progress = &progress_;
  jpeg_mem_src(&info_, reinterpret_cast<const unsigned char*>(bytes_.data()), bytes_.size());
  jpeg_read_header(&info_, TRUE);
  return true;
}

bool JpegReader::start() {
  if (setjmp(jump_) != 0) return false;  // NOLINT(cert-err52-cpp)
  info_.out_color_space = info_.num_components == 4 ? JCS_CMYK : JCS_RGB;
  info_.dct_method = JDCT_ISLOW;
  info_.do_fancy_upsampling = TRUE;
  jpeg_start_decompress(&info_);
  return true;
}

bool JpegReader::read_line(uint8_t* line) {
  if (setjmp(jump_) != 0) return false;  // NOLINT(cert-err52-cpp)
  JSAMPROW rows[1] = {line};
  return jpeg_read_scanlines(&info_, rows, 1) == 1;
}

/// Adobe stores CMYK inverted: a byte is the light that passes. Rounded as Pillow rounds.
void cmyk_to_rgb(const uint8_t* cmyk, uint8_t* rgb, int width) {
  for (int x = 0; x < width; ++x, cmyk += 4, rgb += 3) {
    const int white = cmyk[3];
    for (int c = 0; c < 3; ++c) {
      const int product = (255 - cmyk[c]) * white + 128;
      rgb[c] = static_cast<uint8_t>(white - ((product + (product >> 8)) >> 8));
    }
  }
}

}  // namespace

Image decode_jpeg(std::span<const std::byte> bytes, const std::string& name) {
  JpegReader reader(bytes);
  if (!reader.read_header()) image_error(name, "not a readable JPEG: " + reader.error());
  check_image_size(name, reader.width(), reader.height());
  Image image(static_cast<int>(reader.width()), static_cast<int>(reader.height()));
  if (!reader.start()) image_error(name, "not a readable JPEG: " + reader.error());
  const bool cmyk = reader.components() == 4;
  std::vector<uint8_t> line(cmyk ? static_cast<size_t>(image.width) * 4 : 0);
  for (int y = 0; y < image.height; ++y) {
    if (!reader.read_line(cmyk ? line.data() : image.row(y))) image_error(name, "damaged JPEG data: " + reader.error());
    if (reader.truncated()) image_error(name, fmt::format("truncated JPEG: the data ends at line {} of {}", y, image.height));
    if (cmyk) cmyk_to_rgb(line.data(), image.row(y), image.width);
  }
  if (!reader.warning().empty()) log(LogLevel::warning, "image '{}': {}", name, reader.warning());
  return image;
}

}  // namespace fcm
