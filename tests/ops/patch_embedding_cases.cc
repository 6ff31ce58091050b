#include "ops/op_case.h"
#include "saccade/ops/image.h"

namespace saccade::testing {
namespace {

struct Dims {
  int views;
  int size;
  int patch;
  int dim;
  int zeros = 0;  // behind a patch
  int side() const { return size / patch; }
  int tokens() const { return side() * side(); }
};

double pixel(const Dims& d, const Values& pixels, int view, int channel, int y, int x) {
  return pixels[((view * 3 + channel) * d.size + y) * d.size + x];
}

std::vector<Values> exact(const Dims& d, std::span<const Values> in) {
  Values patches, out;
  for (int view = 0; view < d.views; ++view) {
    for (int token = 0; token < d.tokens(); ++token) {
      const std::size_t first = patches.size();
      for (int c = 0; c < 3; ++c) {
        for (int y = 0; y < d.patch; ++y) {
          for (int x = 0; x < d.patch; ++x) {
            patches.push_back(pixel(d, in[0], view, c, token / d.side() * d.patch + y,
                                    token % d.side() * d.patch + x));
          }
        }
      }
      patches.resize(patches.size() + d.zeros);
      const std::size_t patch_size = patches.size() - first;
      for (int column = 0; column < d.dim; ++column) {
        double sum = in[2][column] + in[3][token * d.dim + column];
        for (std::size_t i = 0; i < patch_size; ++i) {
          sum += in[1][column * patch_size + i] * patches[first + i];
        }
        out.push_back(sum);
      }
    }
  }
  return {patches, out};
}

OpCase make(Dims d, DType weight, DType patches) {
  const int patch_size = 3 * d.patch * d.patch + d.zeros;
  const double rows = double(d.views) * d.tokens();
  return {
      .name = std::string("patch_embedding/") + name_of(weight) + "_" + name_of(patches) + "/" +
              extents({d.views, d.size, d.patch, d.dim}) +
              (d.zeros > 0 ? "/zeros" + std::to_string(d.zeros) : ""),
      .inputs = {{{d.views, 3, d.size, d.size}, DType::kF32},
                 {{d.dim, patch_size}, weight},
                 {{d.dim}, DType::kF32},
                 {{d.tokens(), d.dim}, DType::kF32}},
      .outputs = {{{d.views, d.tokens(), patch_size}, patches},
                  {{d.views, d.tokens(), d.dim}, DType::kF32}},
      .run =
          [](const Stream& s, std::span<const Tensor> in, std::span<const Tensor> o) {
            ops::patch_embedding(s, in[0], in[1], in[2], in[3], o[0], o[1]);
          },
      .exact = [=](std::span<const Values> in) { return exact(d, in); },
      .tolerance = tolerance_of(patches),
      .flops = 2 * rows * patch_size * d.dim,
      .bytes = 4 * rows * (d.dim + patch_size),
  };
}

}  // namespace

std::vector<OpCase> patch_embedding_cases() {
  const auto f32 = DType::kF32;
  const auto bf16 = DType::kBf16;
  const auto f16 = DType::kF16;
  return {
      make({1, 1, 1, 1}, f32, f32),
      make({2, 6, 2, 5}, f32, f32),
      make({2, 6, 3, 5}, bf16, f32),
      make({2, 6, 3, 5}, f16, f16),
      make({2, 6, 2, 5}, f32, bf16),
      make({1, 224, 14, 72}, f16, f16),    // SigLIP's grid, fewer columns
      make({3, 56, 14, 1152}, bf16, f32),  // SigLIP's width, fewer tokens
      make({2, 6, 3, 5, 5}, f32, f32),
      make({2, 56, 14, 1152, 4}, f16, f16),  // SigLIP's, in a multiple of 8
  };
}

}  // namespace saccade::testing
