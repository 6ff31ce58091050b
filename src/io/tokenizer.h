#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace saccade::io {

/// A SentencePiece model, such as paligemma_tokenizer.model.
class Tokenizer {
 public:
  explicit Tokenizer(const std::filesystem::path& model);
  ~Tokenizer();
  Tokenizer(Tokenizer&&) noexcept;
  Tokenizer& operator=(Tokenizer&&) noexcept;

  /// Ids of a UTF-8 text, after the beginning-of-sentence id if that is asked for.
  std::vector<int> encode(std::string_view text, bool add_bos) const;

  int vocabulary() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// Finds the tokenizer's file: `given`, the checkpoint's folder, $SACCADE_TOKENIZER, the Hugging
/// Face cache, openpi's cache. Fails with a sentence that lists where it looked and says where to
/// get the file.
std::filesystem::path find_tokenizer(const std::filesystem::path& given,
                                     const std::filesystem::path& checkpoint_folder);

}  // namespace saccade::io
