/* Streams over memory. */
#ifndef EDGEKIT_TVM_SUPPORT_BYTES_IO_H
#define EDGEKIT_TVM_SUPPORT_BYTES_IO_H

#include <tvm/ffi/error.h>
#include <tvm/ffi/string.h>
#include <tvm/support/io.h>

#include <algorithm>
#include <cstring>
#include <string>

namespace tvm {
namespace support {

class BytesInStream : public Stream {
 public:
  using Stream::Read;
  using Stream::Write;

  /* The bytes stay the caller's. */
  explicit BytesInStream(const ffi::Bytes &bytes) : at_(bytes.data()), left_(bytes.size()) {}
  explicit BytesInStream(const std::string &bytes) : at_(bytes.data()), left_(bytes.size()) {}

  std::size_t Read(void *bytes, std::size_t size) override {
    size = std::min(size, left_);
    if (size != 0) std::memcpy(bytes, at_, size);
    at_ += size;
    left_ -= size;
    return size;
  }

  std::size_t Write(const void *, std::size_t) override {
    TVM_FFI_THROW(RuntimeError) << "this stream is only read";
    return 0;
  }

 private:
  const char *at_;
  std::size_t left_;
};

class BytesOutStream : public Stream {
 public:
  using Stream::Read;
  using Stream::Write;

  explicit BytesOutStream(std::string *bytes) : bytes_(bytes) {}

  std::size_t Read(void *, std::size_t) override {
    TVM_FFI_THROW(RuntimeError) << "this stream is only written";
    return 0;
  }

  std::size_t Write(const void *bytes, std::size_t size) override {
    bytes_->append(static_cast<const char *>(bytes), size);
    return size;
  }

 private:
  std::string *bytes_;
};

}  // namespace support
}  // namespace tvm

#endif
