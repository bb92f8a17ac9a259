// Short names for XLA's arrays, what handlers read alike, and the errors that they return.

#ifndef RASTERIZER_FFI_SHARED_XLA_TYPES_H_
#define RASTERIZER_FFI_SHARED_XLA_TYPES_H_

#include <cstdint>
#include <string>

#include "xla/ffi/api/ffi.h"

namespace ffi = xla::ffi;

namespace rasterizer {
namespace {

using Floats = ffi::Buffer<ffi::F32>;
using Ints = ffi::Buffer<ffi::S32>;
using Bytes = ffi::Buffer<ffi::U8>;
using Dims = ffi::Span<const int64_t>;

inline std::string ShapeText(Dims dims) {
  std::string text = "[";
  for (size_t i = 0; i < dims.size(); ++i) {
    text += (i > 0 ? "," : "") + std::to_string(dims[i]);
  }
  return text + "]";
}

inline ffi::Error BadShape(const char* name, const char* expected, Dims got) {
  return ffi::Error::InvalidArgument(std::string(name) + ": expected shape " + expected + ", got " +
                                     ShapeText(got));
}

// How many of `all` rows are used, the others being padding; an empty `count` means all.
inline ffi::Error ReadCount(const Ints& count, int64_t all, int64_t* used) {
  if (count.element_count() > 1) return BadShape("count", "[] or [0]", count.dimensions());
  const int64_t wanted = count.element_count() == 1 ? *count.typed_data() : all;
  *used = wanted < 0 ? 0 : wanted < all ? wanted : all;
  return ffi::Error::Success();
}

inline ffi::Error OutOfMemory(const char* op) {
  return ffi::Error(ffi::ErrorCode::kResourceExhausted,
                    std::string(op) + ": no memory for the scratch arrays");
}

}  // namespace
}  // namespace rasterizer

#endif  // RASTERIZER_FFI_SHARED_XLA_TYPES_H_
